//! How many attempts after the first a node may make. A pure machine: `now` is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Settings of the retry budget that all calls of a node share.
///
/// In an outage every call fails over, and each attempt adds to what broke the providers. Within
/// any [`WINDOW`](Self::WINDOW) at most `percent` of the calls, and `per_second` besides for a node
/// that makes few, may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Further attempts, in percent of the calls.
    pub percent: u32,
    /// Further attempts a second whatever the calls.
    pub per_second: u32,
}

impl RetryBudget {
    /// Over how long it is counted, in whole seconds: what is nine seconds old counts, what is ten
    /// does not.
    pub const WINDOW: Duration = Duration::from_secs(10);
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            per_second: 10,
        }
    }
}

/// Calls and further attempts of the last seconds, counted by the second.
#[derive(Debug)]
pub(crate) struct Spending {
    budget: RetryBudget,
    slots: [Slot; SLOTS],
    newest: Option<(Instant, usize)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    calls: u64,
    retries: u64,
}

impl Spending {
    pub(crate) fn new(budget: RetryBudget) -> Self {
        Self {
            budget,
            slots: [Slot::default(); SLOTS],
            newest: None,
        }
    }

    /// Notes a call.
    pub(crate) fn call(&mut self, now: Instant) {
        let at = self.turn_to(now);
        self.slots[at].calls += 1;
    }

    /// Takes leave for one more attempt; whether there is any.
    pub(crate) fn retry(&mut self, now: Instant) -> bool {
        let at = self.turn_to(now);
        let may = self.has_left(now);
        self.slots[at].retries += u64::from(may);
        may
    }

    /// Whether there is leave for one more attempt.
    pub(crate) fn has_left(&mut self, now: Instant) -> bool {
        self.turn_to(now);
        let (mut calls, mut retries) = (0_u64, 0);
        for slot in &self.slots {
            calls += slot.calls;
            retries += slot.retries;
        }
        let seconds = RetryBudget::WINDOW.as_secs();
        let share = calls.saturating_mul(self.budget.percent.into()) / 100;
        let floor = seconds.saturating_mul(self.budget.per_second.into());
        retries < share.saturating_add(floor)
    }

    /// The slot of this second, after emptying those whose time is over.
    fn turn_to(&mut self, now: Instant) -> usize {
        let (began, at) = *self.newest.get_or_insert((now, 0));
        let past = now.saturating_duration_since(began).as_secs();
        if past == 0 {
            return at;
        }
        let steps = usize::try_from(past).unwrap_or(SLOTS).min(SLOTS);
        for step in 1..=steps {
            self.slots[(at + step) % SLOTS] = Slot::default();
        }
        let at = (at + steps) % SLOTS;
        self.newest = Some((began + Duration::from_secs(past), at));
        at
    }
}

const SLOTS: usize = RetryBudget::WINDOW.as_secs() as usize;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spending() -> Spending {
        Spending::new(RetryBudget::default())
    }

    #[test]
    fn a_hundred_are_there_to_begin_with() {
        let now = Instant::now();
        let mut spending = spending();
        let granted = (0..1000).filter(|_| spending.retry(now)).count();
        assert_eq!(granted, 100);
    }

    #[test]
    fn an_outage_adds_a_fifth_and_the_floor() {
        let start = Instant::now();
        let (mut spending, mut granted) = (spending(), 0);
        // A minute of 1,000 calls a second that all want to be tried twice more.
        for call in 0..60_000 {
            let now = start + Duration::from_millis(call);
            spending.call(now);
            granted += u64::from(spending.retry(now)) + u64::from(spending.retry(now));
        }
        let most = 60_000 / 5 + 60 * 10 + 100;
        assert!(granted <= most && granted > most * 9 / 10, "{granted}");
    }

    #[test]
    fn a_budget_of_nothing_grants_nothing() {
        let now = Instant::now();
        let nothing = RetryBudget {
            percent: 0,
            per_second: 0,
        };
        let mut spending = Spending::new(nothing);
        (0..1000).for_each(|_| spending.call(now));
        assert!(!spending.retry(now));
    }

    #[test]
    fn a_budget_without_end_grants_whatever_is_asked() {
        let now = Instant::now();
        let boundless = RetryBudget {
            percent: u32::MAX,
            per_second: u32::MAX,
        };
        let mut spending = Spending::new(boundless);
        (0..1000).for_each(|_| spending.call(now));
        assert!((0..10_000).all(|_| spending.retry(now)));
    }

    #[test]
    fn what_was_spent_comes_back_after_the_window_and_not_before() {
        let start = Instant::now();
        let mut spending = spending();
        while spending.retry(start) {}
        let later = start + RetryBudget::WINDOW;
        assert!(!spending.retry(later - Duration::from_millis(1)));
        let granted = (0..1000).filter(|_| spending.retry(later)).count();
        assert_eq!(granted, 100);
    }

    #[test]
    fn two_months_idle_or_time_going_back_wedge_nothing() {
        let later = Instant::now() + Duration::from_secs(60 * 24 * 60 * 60);
        let mut spending = spending();
        while spending.retry(later) {}
        assert!(!spending.retry(later - Duration::from_secs(1_000_000)));
        assert!(spending.retry(later + Duration::from_secs(60 * 24 * 60 * 60)));
    }

    proptest! {
        #[test]
        fn no_window_grants_more_than_its_share(
            steps in prop::collection::vec((0_u64..500, any::<bool>()), 1..2_000),
        ) {
            let (mut now, mut spending) = (Instant::now(), spending());
            let (mut calls, mut granted) = (Vec::new(), Vec::new());
            for (millis, is_call) in steps {
                now += Duration::from_millis(millis);
                match is_call {
                    true => {
                        spending.call(now);
                        calls.push(now);
                    }
                    false => if spending.retry(now) { granted.push(now) },
                }
                let within = |all: &[Instant]| {
                    all.iter().filter(|at| now.duration_since(**at) < RetryBudget::WINDOW).count()
                };
                // A slot is a whole second, so what is counted may be up to one second younger.
                let young = granted.iter()
                    .filter(|at| now.duration_since(**at) < Duration::from_secs(9)).count();
                prop_assert!(young <= within(&calls) / 5 + 100);
            }
        }
    }
}
