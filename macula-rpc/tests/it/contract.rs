//! The contract suite on the selectors of this crate, and on some that break it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use macula_rpc::contract::{self, Broken};
use macula_rpc::{First, LeastLatency, ProviderSelector, Random, RoundRobin, Selection};

#[test]
fn first_keeps_the_contract_and_repeats_itself() {
    let make = || Arc::new(First) as _;
    contract::run(make).unwrap();
    contract::repeat(make).unwrap();
}

#[test]
fn random_keeps_the_contract_shares_out_and_repeats_itself() {
    for seed in 1..=5 {
        let make = || Arc::new(Random::new(seed)) as _;
        contract::run(make).unwrap();
        contract::spread(make).unwrap();
        contract::repeat(make).unwrap();
    }
}

#[test]
fn round_robin_keeps_the_contract_shares_out_and_repeats_itself() {
    let make = || Arc::new(RoundRobin::new()) as _;
    contract::run(make).unwrap();
    contract::spread(make).unwrap();
    contract::repeat(make).unwrap();
}

#[test]
fn least_latency_keeps_the_contract_shares_out_and_repeats_itself() {
    for seed in 1..=5 {
        let make = || Arc::new(LeastLatency::new(seed)) as _;
        contract::run(make).unwrap();
        contract::spread(make).unwrap();
        contract::repeat(make).unwrap();
    }
}

/// A selector that is a function of what it is asked and of how often it was asked before.
struct Chooses<F> {
    choice: F,
    asked: AtomicUsize,
}

impl<F> ProviderSelector for Chooses<F>
where
    F: Fn(usize, usize) -> Option<usize> + Send + Sync + 'static,
{
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        (self.choice)(asked, selection.candidates.len())
    }
}

fn chooses<F>(choice: F) -> Arc<dyn ProviderSelector>
where
    F: Fn(usize, usize) -> Option<usize> + Send + Sync + 'static,
{
    Arc::new(Chooses {
        choice,
        asked: AtomicUsize::new(0),
    })
}

fn case(outcome: Result<(), Broken>) -> &'static str {
    outcome.unwrap_err().case
}

#[test]
fn somebody_of_nobody_is_found_out() {
    let outcome = contract::run(|| chooses(|_, _| Some(0)));
    assert_eq!(case(outcome), "any::nobody_is_chosen_where_there_is_nobody");
}

#[test]
fn nobody_of_somebody_is_found_out() {
    let outcome = contract::run(|| chooses(|_, _| None));
    assert_eq!(case(outcome), "any::the_only_candidate_is_chosen");
}

#[test]
fn a_choice_of_who_is_no_longer_there_is_found_out() {
    let in_turn = |asked: usize, count: usize| (count > 0).then(|| asked % count.max(10));
    let outcome = contract::run(|| chooses(in_turn));
    assert_eq!(case(outcome), "any::the_only_candidate_is_chosen");
}

#[test]
fn who_remembers_how_many_there_were_is_found_out() {
    struct Remembers(AtomicUsize);
    impl ProviderSelector for Remembers {
        fn select(&self, selection: &Selection<'_>) -> Option<usize> {
            let count = selection.candidates.len();
            let known = match selection.attempt {
                1 => {
                    self.0.store(count, Ordering::Relaxed);
                    count
                }
                _ => self.0.load(Ordering::Relaxed).max(1),
            };
            (count > 0).then(|| known - 1)
        }
    }
    let outcome = contract::run(|| Arc::new(Remembers(AtomicUsize::new(0))));
    let case = case(outcome);
    assert_eq!(case, "any::a_call_that_fails_over_comes_to_everybody_once");
}

#[test]
fn who_prefers_somebody_among_equals_does_not_share_out() {
    let outcome = contract::spread(|| Arc::new(First));
    assert_eq!(case(outcome), "even::equals_get_equal_shares");
}

#[test]
fn who_counts_all_services_together_does_not_share_each_out() {
    let in_turn = |asked: usize, count: usize| asked.checked_rem(count);
    let outcome = contract::spread(|| chooses(in_turn));
    assert_eq!(case(outcome), "even::each_service_is_shared_out_by_itself");
}

#[test]
fn who_draws_anew_each_time_does_not_repeat_itself() {
    let made = AtomicUsize::new(0);
    let outcome = contract::repeat(|| {
        let seed = made.fetch_add(1, Ordering::Relaxed);
        Arc::new(Random::new(seed as u64))
    });
    assert_eq!(case(outcome), "same::selectors_made_alike_choose_alike");
}
