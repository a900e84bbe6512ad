//! The numbers that order a provider's claims, also over its restarts.

use std::io;
use std::time::Duration;

use crate::Timestamp;

/// The sequence numbers that one provider signs its claims to a service with.
///
/// Each is max(last + 1, unix milliseconds): they only grow. After a restart they do so as long as
/// the wall clock did not go back by more than the downtime, or a [`SequenceStore`] remembers.
#[derive(Debug, Default)]
pub struct Sequence {
    last: u64,
}

impl Sequence {
    /// Continues after the last number that was used.
    pub const fn after(last: u64) -> Self {
        Self { last }
    }

    /// The next number.
    pub fn next(&mut self, now: Timestamp) -> u64 {
        self.last = self.last.saturating_add(1).max(now.unix_millis());
        self.last
    }
}

/// Remembers over restarts which sequence numbers may have been used.
///
/// Numbers are reserved long before they are used, so that remembering costs a write now and then
/// and none per claim; what a run leaves unused is skipped by the next.
pub trait SequenceStore: Send + Sync + 'static {
    /// The first number that no earlier run has used.
    fn first(&self) -> u64;

    /// The end of the numbers that this run may use, itself not among them.
    fn reserved(&self) -> u64;

    /// Reserves all numbers below `end`. Blocks until that outlives a crash.
    ///
    /// # Errors
    /// What the operating system says; what was reserved before stays so.
    fn reserve(&self, end: u64) -> io::Result<()>;
}

/// Remembers nothing: each run begins at the wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnsavedSequence;

impl SequenceStore for UnsavedSequence {
    fn first(&self) -> u64 {
        0
    }

    fn reserved(&self) -> u64 {
        u64::MAX
    }

    fn reserve(&self, _end: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The end of the numbers to reserve, before half of them are used up, by one whose next is `next`.
///
/// Those of [`SEQUENCE_RESERVE`] from now on. Who is ahead of the clock, as after a restart, counts
/// by one until the clock has caught up and needs few: a node that restarts again and again gets
/// ahead by no more than [`SEQUENCE_AHEAD`] each time, and not at all if it runs for longer.
pub fn sequence_reservation(now: Timestamp, next: u64) -> u64 {
    let end = now.saturating_add(SEQUENCE_RESERVE).unix_millis();
    end.max(next.saturating_add(SEQUENCE_AHEAD))
}

/// How far ahead of the wall clock numbers are reserved.
///
/// A restart within that time goes on with numbers that are ahead of the clock, which does no
/// harm. Half of it is how often a node that runs writes its reservation.
pub const SEQUENCE_RESERVE: Duration = Duration::from_secs(2 * 60 * 60);

/// How many numbers are reserved beyond the next one at least: ten seconds' worth. A service that
/// is refreshed every four minutes uses them up in a month.
pub const SEQUENCE_AHEAD: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn a_sequence_follows_the_clock_and_never_repeats() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.next(at(1000)), 1000);
        assert_eq!(sequence.next(at(1000)), 1001);
        assert_eq!(sequence.next(at(500)), 1002);
        assert_eq!(sequence.next(at(5000)), 5000);
    }

    #[test]
    fn numbers_are_reserved_from_the_clock_on_and_few_beyond_those_that_are_ahead_of_it() {
        let (now, two_hours) = (at(1_000_000_000), 7_200_000);
        assert_eq!(sequence_reservation(now, 0), 1_000_000_000 + two_hours);
        let ahead = 1_000_000_000 + two_hours;
        assert_eq!(sequence_reservation(now, ahead), ahead + SEQUENCE_AHEAD);
        assert_eq!(sequence_reservation(now, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_restarted_sequence_goes_on_beyond_the_last_one() {
        assert_eq!(Sequence::after(7000).next(at(1000)), 7001);
        assert_eq!(Sequence::after(7000).next(at(9000)), 9000);
    }
}
