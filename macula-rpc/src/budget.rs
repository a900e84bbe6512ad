//! How many attempts after the first a node may make. A pure machine: `now` is an argument.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::recent::Recent;

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
    pub const WINDOW: Duration = Recent::WINDOW;
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            per_second: 10,
        }
    }
}

/// Calls and further attempts of late.
#[derive(Debug)]
pub(crate) struct Spending {
    budget: RetryBudget,
    calls: Recent,
    /// Held by who asks for leave, so that nobody takes what another was just given. Calls, which
    /// are many more, only count themselves.
    retries: Mutex<Recent>,
}

impl Spending {
    pub(crate) fn new(budget: RetryBudget) -> Self {
        Self {
            budget,
            calls: Recent::default(),
            retries: Mutex::default(),
        }
    }

    /// Notes a call.
    pub(crate) fn call(&self, now: Instant) {
        self.calls.add(now);
    }

    /// Takes leave for one more attempt; whether there is any.
    pub(crate) fn retry(&self, now: Instant) -> bool {
        let retries = self.retries();
        let may = retries.count(now) < self.granted(now);
        if may {
            retries.add(now);
        }
        may
    }

    /// Whether there is leave for one more attempt.
    pub(crate) fn has_left(&self, now: Instant) -> bool {
        self.retries().count(now) < self.granted(now)
    }

    /// How many further attempts the calls of late are worth.
    fn granted(&self, now: Instant) -> u64 {
        let seconds = RetryBudget::WINDOW.as_secs();
        let percent = u64::from(self.budget.percent);
        let share = self.calls.count(now).saturating_mul(percent) / 100;
        let floor = seconds.saturating_mul(self.budget.per_second.into());
        share.saturating_add(floor)
    }

    fn retries(&self) -> MutexGuard<'_, Recent> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        let spending = spending();
        let granted = (0..1000).filter(|_| spending.retry(now)).count();
        assert_eq!(granted, 100);
    }

    #[test]
    fn an_outage_adds_a_fifth_and_the_floor() {
        let start = Instant::now();
        let (spending, mut granted) = (spending(), 0);
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
        let spending = Spending::new(nothing);
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
        let spending = Spending::new(boundless);
        (0..1000).for_each(|_| spending.call(now));
        assert!((0..10_000).all(|_| spending.retry(now)));
    }

    #[test]
    fn what_was_spent_comes_back_after_the_window_and_not_before() {
        let start = Instant::now();
        let spending = spending();
        while spending.retry(start) {}
        let later = start + RetryBudget::WINDOW;
        assert!(!spending.retry(later - Duration::from_millis(1)));
        let granted = (0..1000).filter(|_| spending.retry(later)).count();
        assert_eq!(granted, 100);
    }

    #[test]
    fn two_months_idle_or_time_going_back_wedge_nothing() {
        let later = Instant::now() + Duration::from_secs(60 * 24 * 60 * 60);
        let spending = spending();
        while spending.retry(later) {}
        assert!(!spending.retry(later - Duration::from_secs(1_000_000)));
        assert!(spending.retry(later + Duration::from_secs(60 * 24 * 60 * 60)));
    }

    proptest! {
        #[test]
        fn no_window_grants_more_than_its_share(
            steps in prop::collection::vec((0_u64..500, any::<bool>()), 1..2_000),
        ) {
            let (mut now, spending) = (Instant::now(), spending());
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
