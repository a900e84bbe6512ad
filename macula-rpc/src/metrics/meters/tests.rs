//! Names come and go; what they counted does not.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::AttemptOutcome;
use crate::metrics::{Called, CalledStats, Served};

fn name(number: usize) -> ServiceName {
    format!("app.f{number}").parse().unwrap()
}

/// What happens to the calls of a node.
#[derive(Debug, Clone)]
enum Operation {
    Hold(usize),
    LetGo(usize),
    Call(usize, Option<FailureClass>, u64),
    GiveUp(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let failure = prop::option::of(prop::sample::select(&FailureClass::ALL[..]));
    prop_oneof![
        (0..6_usize).prop_map(Operation::Hold),
        (0..6_usize).prop_map(Operation::LetGo),
        (0..6_usize, failure, 0..1_000_000_u64)
            .prop_map(|(name, failure, nanos)| Operation::Call(name, failure, nanos)),
        (0..6_usize).prop_map(Operation::GiveUp),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_or_counted_twice_whatever_finds_no_room(
        operations in prop::collection::vec(operation(), 0..100),
    ) {
        let meters = Meters::<Called>::at_most(3);
        let mut held = BTreeMap::new();
        let (mut calls, mut failures, mut answered) = (0_u64, BTreeMap::new(), 0_u64);
        for operation in operations {
            match operation {
                Operation::Hold(number) => {
                    held.insert(number, meters.of(&name(number)));
                }
                Operation::LetGo(number) => {
                    held.remove(&number);
                }
                Operation::Call(number, failure, nanos) => {
                    let meter = meters.of(&name(number));
                    meter.begin().ended(Duration::from_nanos(nanos), failure);
                    calls += 1;
                    answered += u64::from(failure.is_none_or(FailureClass::is_answer));
                    if let Some(class) = failure {
                        *failures.entry(class).or_default() += 1_u64;
                    }
                }
                Operation::GiveUp(number) => {
                    drop(meters.of(&name(number)).begin());
                    calls += 1;
                    *failures.entry(FailureClass::GivenUp).or_default() += 1_u64;
                }
            }
            let stats = meters.stats();
            prop_assert!(stats.services.len() <= 3);
            let total = stats.total();
            prop_assert_eq!((total.calls, total.running), (calls, 0));
            prop_assert_eq!(&total.failures, &failures);
            prop_assert_eq!(total.latency.count, answered);
            for (number, meter) in &held {
                let is_named = stats.services.contains_key(&name(*number));
                prop_assert!(is_named || Arc::ptr_eq(meter, &meters.other));
            }
        }
    }

    #[test]
    fn naming_the_busiest_only_changes_no_total(
        calls in prop::collection::vec(0..5_u64, 0..10), most in 0..12_usize,
    ) {
        let services = calls.iter().enumerate().map(|(number, calls)| {
            let stats = CalledStats { calls: *calls, ..CalledStats::default() };
            (name(number), stats)
        });
        let all = PerService { services: services.collect(), other: CalledStats::default() };
        let some = all.clone().busiest(most);
        prop_assert_eq!(some.total(), all.total());
        prop_assert_eq!(some.services.len(), most.min(calls.len()));
        let least = some.services.values().map(|stats| stats.calls).min();
        let left_out = all.services.iter().filter(|(name, _)| !some.services.contains_key(*name));
        let busiest_left_out = left_out.map(|(_, stats)| stats.calls).max();
        prop_assert!(least.is_none() || busiest_left_out <= least);
    }
}

#[test]
fn a_call_runs_until_it_ends_or_is_given_up() {
    let called = Called::default();
    let (one, two) = (called.begin(), called.begin());
    assert_eq!(called.stats().running, 2);
    one.ended(Duration::ZERO, None);
    drop(two);
    let stats = called.stats();
    assert_eq!((stats.calls, stats.running), (2, 0));
    assert_eq!(stats.failures, [(FailureClass::GivenUp, 1)].into());
    assert_eq!(stats.latency.count, 1);
}

#[test]
fn an_error_of_the_service_is_an_answer_and_a_panic_is_none() {
    let served = Served::default();
    let took = Duration::from_micros(10);
    for failure in [
        None,
        Some(FailureClass::Handler),
        Some(FailureClass::Panicked),
    ] {
        served.called();
        served.ended(took, failure);
    }
    served.called();
    let stats = served.stats();
    assert_eq!((stats.calls, stats.running), (4, 1));
    assert_eq!(
        (stats.duration.count, stats.duration.sum_nanos),
        (2, 20_000)
    );
    assert_eq!(stats.failures.values().sum::<u64>(), 2);
}

#[test]
fn an_attempt_that_another_made_up_for_is_no_failed_call() {
    let called = Called::default();
    let call = called.begin();
    called.attempt(1);
    called.attempted(&AttemptOutcome::Overloaded);
    called.attempt(2);
    called.attempted(&AttemptOutcome::Answered);
    call.ended(Duration::ZERO, None);
    let stats = called.stats();
    assert_eq!((stats.attempts, stats.retries), (2, 1));
    assert_eq!(stats.failures, BTreeMap::new());
    assert_eq!(
        stats.attempt_failures,
        [(FailureClass::Overloaded, 1)].into()
    );
}

#[test]
fn a_service_takes_no_more_memory_than_is_said() {
    let buckets = 280 * size_of::<u64>();
    assert!(size_of::<Called>() + buckets < 3 * 1024);
    assert!(size_of::<Served>() < size_of::<Called>());
}
