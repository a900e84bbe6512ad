//! Lets what is put into an outbox from other threads gather before it is sent.
//!
//! A packet costs as much with one message as with dozens. What callers ask for after a burst of
//! answers, and what handlers on other threads answer after a burst of requests, comes one by one
//! and would be sent so. So while more is likely to come, the lane lets others have the thread a few
//! times before it writes; where that is in vain, as with handlers that take their time, it soon
//! does so no more.

/// When to wait for more, and for how long.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// How often the lane has looked again in this wait.
    looks: u8,
    /// How much there was when the wait began.
    begun_with: usize,
    /// How many occasions are let pass after waits in vain.
    pause: u8,
    /// How many of them are left.
    to_pass: u8,
}

impl Gathering {
    /// Whether to look again before what is `waiting` goes out; so many more are likely to come.
    pub(super) fn looks_again(&mut self, waiting: usize, coming: usize) -> bool {
        if waiting == 0 {
            return false;
        }
        if self.looks == 0 && !self.begins(waiting, coming) {
            return false;
        }
        if coming > 0 && self.looks < MAX_LOOKS {
            self.looks += 1;
            return true;
        }
        self.ends(waiting);
        false
    }

    fn begins(&mut self, waiting: usize, coming: usize) -> bool {
        if coming == 0 {
            return false;
        }
        if self.to_pass > 0 {
            self.to_pass -= 1;
            return false;
        }
        self.begun_with = waiting;
        true
    }

    fn ends(&mut self, waiting: usize) {
        let is_in_vain = waiting <= self.begun_with;
        self.pause = match is_in_vain {
            true => (self.pause * 2 + 1).min(MAX_PAUSE),
            false => 0,
        };
        self.to_pass = self.pause;
        self.looks = 0;
    }
}

/// How often a lane looks again: about ten microseconds, if nobody else wants the thread.
const MAX_LOOKS: u8 = 16;

/// The most occasions that are let pass. One wait in so many costs nothing that could be measured.
const MAX_PAUSE: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it looks again while nothing comes.
    fn looks_in_vain(gathering: &mut Gathering) -> usize {
        (0..1000)
            .take_while(|_| gathering.looks_again(1, 1))
            .count()
    }

    #[test]
    fn what_nobody_will_follow_goes_out_at_once() {
        let mut gathering = Gathering::default();
        assert!(!gathering.looks_again(1, 0));
        assert!(!gathering.looks_again(0, 5), "there is nothing to send");
    }

    #[test]
    fn it_looks_again_until_all_are_there() {
        let mut gathering = Gathering::default();
        for waiting in 1..10 {
            assert!(gathering.looks_again(waiting, 10 - waiting));
        }
        assert!(!gathering.looks_again(10, 0));
        assert!(gathering.looks_again(1, 9), "and does so the next time");
    }

    #[test]
    fn a_wait_is_bounded_and_waits_in_vain_become_rare() {
        let mut gathering = Gathering::default();
        let mut looks = 0;
        for _ in 0..1000 {
            let more = looks_in_vain(&mut gathering);
            assert!(more <= usize::from(MAX_LOOKS));
            looks += more;
        }
        assert!(looks <= 15 * usize::from(MAX_LOOKS), "{looks}");
    }

    #[test]
    fn one_wait_that_paid_makes_up_for_those_in_vain() {
        let mut gathering = Gathering::default();
        for _ in 0..1000 {
            looks_in_vain(&mut gathering);
        }
        while !gathering.looks_again(1, 2) {}
        assert!(gathering.looks_again(2, 1));
        assert!(!gathering.looks_again(3, 0));
        assert!(gathering.looks_again(1, 2));
    }
}
