use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, advance};

use super::*;

const SLOW: Duration = Duration::from_millis(100);

fn service() -> ServiceName {
    "app.f".parse().unwrap()
}

fn node(seed: u8) -> NodeId {
    macula_core::SecretKey::from_bytes(&[seed; 32]).node_id()
}

/// Any number of ids.
fn ids(i: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&i.to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn numbered(i: usize) -> ServiceName {
    format!("app.f{i}").parse().unwrap()
}

fn snapshot(service: &ServiceHealth, node_id: &NodeId) -> ProviderHealth {
    let now = Instant::now();
    let known = service.known();
    known
        .providers
        .get(node_id)
        .map_or_else(ProviderHealth::default, |vitals| {
            vitals.snapshot(now, false)
        })
}

async fn attempt(service: &ServiceHealth, node_id: NodeId, takes: Duration, how: Condition) {
    let under_way = service.begin(Instant::now(), node_id, true).unwrap();
    advance(takes).await;
    under_way.ended(Instant::now(), how);
}

#[tokio::test(start_paused = true)]
async fn slowness_is_believed_at_once_and_quickness_little_by_little() {
    let health = Health::default();
    let service = health.of(Instant::now(), &service());
    attempt(&service, node(1), SLOW / 20, Condition::Well).await;
    attempt(&service, node(1), SLOW, Condition::Well).await;
    assert_eq!(snapshot(&service, &node(1)).latency, Some(SLOW));
    attempt(&service, node(1), SLOW / 20, Condition::Well).await;
    let after_one = snapshot(&service, &node(1)).latency.unwrap();
    assert!(after_one > SLOW / 2 && after_one < SLOW, "{after_one:?}");
    for _ in 0..50 {
        attempt(&service, node(1), SLOW / 20, Condition::Well).await;
    }
    let after_many = snapshot(&service, &node(1)).latency.unwrap();
    assert!(after_many < SLOW / 15, "{after_many:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_an_idle_provider_fades_within_three_decay_periods() {
    let health = Health::default();
    let service = health.of(Instant::now(), &service());
    for _ in 0..4 {
        attempt(&service, node(1), SLOW, Condition::Ill).await;
    }
    attempt(&service, node(1), SLOW, Condition::Well).await;
    let before = snapshot(&service, &node(1));
    advance(vitals::DECAY * 3).await;
    let after = snapshot(&service, &node(1));
    assert!(after.latency.unwrap() <= before.latency.unwrap() / 20);
    assert!(after.failing <= before.failing / 20.0);
}

#[tokio::test(start_paused = true)]
async fn two_months_idle_or_time_going_back_wedge_nothing() {
    let service = ServiceHealth::default();
    let now = Instant::now() + Duration::from_secs(60 * 24 * 60 * 60);
    let later = now + Duration::from_secs(60 * 24 * 60 * 60);
    for at in [now, now - Duration::from_secs(1_000_000), later] {
        let attempt = service.begin(at, node(1), false).unwrap();
        attempt.ended(at - SLOW, Condition::Well);
        let known = service.known();
        let known = known.providers[&node(1)].snapshot(at, false);
        assert_eq!((known.in_flight, known.waiting), (0, None));
        assert!(known.failing == 0.0 && known.latency.unwrap() < SLOW);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_under_way_are_counted_until_they_end_or_are_given_up() {
    let health = Health::default();
    let service = health.of(Instant::now(), &service());
    let first = service.begin(Instant::now(), node(1), false).unwrap();
    advance(SLOW).await;
    let second = service.begin(Instant::now(), node(1), false).unwrap();
    let known = snapshot(&service, &node(1));
    assert_eq!((known.in_flight, known.waiting), (2, Some(SLOW)));
    drop(first);
    second.ended(Instant::now(), Condition::Well);
    let known = snapshot(&service, &node(1));
    assert_eq!((known.in_flight, known.waiting), (0, None));
    assert_eq!(known.latency, Some(Duration::ZERO));
    assert_eq!(known.failing, 0.0, "what was given up says nothing");
}

#[tokio::test(start_paused = true)]
async fn services_of_one_node_are_known_apart() {
    let health = Health::default();
    let broken = health.of(Instant::now(), &service());
    let other = health.of(Instant::now(), &"app.g".parse().unwrap());
    for _ in 0..5 {
        attempt(&broken, node(1), SLOW, Condition::Ill).await;
    }
    assert_eq!(snapshot(&broken, &node(1)).breaker, BreakerState::Open);
    assert_eq!(snapshot(&other, &node(1)), ProviderHealth::default());
    assert!(broken.begin(Instant::now(), node(1), false).is_none());
    assert!(broken.begin(Instant::now(), node(1), true).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_bounded_and_the_longest_unused_goes_first() {
    let health = Health::default();
    for i in 0..MAX_SERVICES + 10 {
        health.of(Instant::now(), &numbered(i));
    }
    assert!(health.services.len() <= MAX_SERVICES);
    let service = health.of(Instant::now(), &service());
    for i in 0..MAX_PROVIDERS + 1 {
        advance(Duration::from_millis(1)).await;
        attempt(&service, ids(i), Duration::ZERO, Condition::Well).await;
    }
    let known = &service.known().providers;
    assert_eq!(known.len(), MAX_PROVIDERS);
    assert!(!known.contains_key(&ids(0)) && known.contains_key(&ids(MAX_PROVIDERS)));
}

#[tokio::test(start_paused = true)]
async fn an_error_however_quick_makes_nobody_look_quick() {
    let health = Health::default();
    let service = health.of(Instant::now(), &service());
    attempt(&service, node(1), SLOW, Condition::Well).await;
    for _ in 0..10 {
        attempt(&service, node(1), SLOW / 100, Condition::Alive).await;
        attempt(&service, node(2), SLOW / 100, Condition::Alive).await;
    }
    let known = snapshot(&service, &node(1));
    assert!(known.latency.unwrap() > SLOW / 2, "{known:?}");
    assert_eq!((known.failing, known.breaker), (0.0, BreakerState::Closed));
    assert_eq!(snapshot(&service, &node(2)).latency, None);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_given_up_tells_how_long_it_had_waited() {
    let health = Health::default();
    let service = health.of(Instant::now(), &service());
    attempt(&service, node(1), SLOW / 10, Condition::Well).await;
    attempt(&service, node(1), SLOW, Condition::Unknown).await;
    assert_eq!(snapshot(&service, &node(1)).latency, Some(SLOW));
}

#[tokio::test(start_paused = true)]
async fn one_answer_makes_nobody_look_more_than_twenty_times_slower() {
    let health = Health::default();
    let service = health.of(Instant::now(), &service());
    attempt(&service, node(1), SLOW, Condition::Well).await;
    attempt(&service, node(1), SLOW * 100, Condition::Well).await;
    let latency = snapshot(&service, &node(1)).latency.unwrap();
    assert!(latency <= SLOW * 20, "{latency:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_learnt_of_a_slow_provider_is_not_forgotten_as_soon_as_it_is_known() {
    let service = ServiceHealth::default();
    let slow = FORGOTTEN_AFTER * 2;
    attempt(&service, ids(0), slow, Condition::Well).await;
    assert!(!service.is_idle(Instant::now(), FORGOTTEN_AFTER));
    for i in 1..MAX_PROVIDERS + 1 {
        attempt(&service, ids(i), Duration::ZERO, Condition::Well).await;
        advance(Duration::from_millis(1)).await;
    }
    assert!(
        !service.known().providers.contains_key(&ids(0)),
        "by now it is"
    );
    advance(FORGOTTEN_AFTER).await;
    assert!(service.is_idle(Instant::now(), FORGOTTEN_AFTER));
}

#[tokio::test(start_paused = true)]
async fn who_has_not_answered_yet_is_not_forgotten_for_others() {
    let service = ServiceHealth::default();
    let waits = service.begin(Instant::now(), ids(0), false).unwrap();
    for i in 1..2 * MAX_PROVIDERS {
        advance(Duration::from_millis(1)).await;
        attempt(&service, ids(i), Duration::ZERO, Condition::Well).await;
    }
    assert_eq!(snapshot(&service, &ids(0)).in_flight, 1);
    assert_eq!(service.known().providers.len(), MAX_PROVIDERS);
    waits.ended(Instant::now(), Condition::Ill);
    assert!(snapshot(&service, &ids(0)).failing > 0.0);
}

#[tokio::test(start_paused = true)]
async fn who_is_being_asked_is_bounded_too_and_an_end_that_nobody_remembers_does_no_harm() {
    let service = ServiceHealth::default();
    let begin = |i| service.begin(Instant::now(), ids(i), false).unwrap();
    let all: Vec<_> = (0..2 * MAX_PROVIDERS).map(begin).collect();
    assert_eq!(service.known().providers.len(), MAX_PROVIDERS);
    let again = begin(0);
    for under_way in all {
        under_way.ended(Instant::now(), Condition::Well);
    }
    assert_eq!(service.known().providers.len(), MAX_PROVIDERS);
    assert_eq!(snapshot(&service, &ids(0)).in_flight, 1);
    drop(again);
    assert_eq!(snapshot(&service, &ids(0)).in_flight, 0);
}

#[test]
fn attempts_of_many_threads_leave_nothing_behind() {
    let service = ServiceHealth::default();
    let begin = || service.begin(Instant::now(), node(1), true);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    drop((begin(), begin()));
                }
            });
        }
    });
    assert_eq!(snapshot(&service, &node(1)).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_a_call_holds_is_not_forgotten_for_others() {
    let health = Health::default();
    let held = health.of(Instant::now(), &service());
    for i in 0..MAX_SERVICES {
        health.of(Instant::now(), &numbered(i));
    }
    let again = health.of(Instant::now(), &service());
    assert!(Arc::ptr_eq(&held, &again), "what it learns is not lost");
}

#[tokio::test(start_paused = true)]
async fn services_beyond_the_bound_are_one_crowd_until_others_are_idle() {
    let health = Health::default();
    for i in 0..MAX_SERVICES {
        let service = health.of(Instant::now(), &numbered(i));
        drop(service.begin(Instant::now(), node(1), false));
    }
    let is_crowd = || Arc::ptr_eq(&health.of(Instant::now(), &service()), &health.crowd);
    advance(FORGOTTEN_AFTER - SWEEP_INTERVAL / 2).await;
    assert!(is_crowd(), "all are in use");
    advance(SWEEP_INTERVAL / 2).await;
    assert!(is_crowd(), "they were looked through a moment ago");
    advance(SWEEP_INTERVAL / 2).await;
    assert!(!is_crowd());
    assert_eq!(health.services.len(), 1, "the idle ones are gone");
}

#[derive(Debug, Clone)]
enum Operation {
    Begin { node: usize, forced: bool },
    End { which: usize, how: Condition },
    Pass { millis: u64 },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let how = prop::sample::select(vec![
        Condition::Well,
        Condition::Alive,
        Condition::Ill,
        Condition::Ill,
        Condition::Unknown,
    ]);
    let begin = (0_usize..3, any::<bool>())
        .prop_map(|(node, forced)| Operation::Begin { node, forced })
        .boxed();
    let end = (0_usize..8, how)
        .prop_map(|(which, how)| Operation::End { which, how })
        .boxed();
    let pass = (0_u64..3_000).prop_map(|millis| Operation::Pass { millis });
    let operation = prop_oneof![3 => begin, 3 => end, 1 => pass];
    prop::collection::vec(operation, 1..200)
}

/// Which attempts are under way, and since when.
#[derive(Default)]
struct Oracle<'a>(Vec<(usize, Instant, AttemptUnderWay<'a>)>);

impl<'a> Oracle<'a> {
    fn check(&self, service: &ServiceHealth) {
        for node in 0..3 {
            let of_node = || self.0.iter().filter(|(of, ..)| *of == node);
            let known = snapshot(service, &ids(node));
            assert_eq!(known.in_flight, of_node().count());
            let oldest = of_node().map(|(_, began, _)| began.elapsed()).max();
            assert_eq!(known.waiting, oldest);
            assert!((0.0..=1.0).contains(&known.failing), "{}", known.failing);
        }
    }

    async fn apply(&mut self, service: &'a ServiceHealth, operation: Operation) {
        match operation {
            Operation::Begin { node, forced } => {
                let before = snapshot(service, &ids(node)).breaker;
                let begun = service.begin(Instant::now(), ids(node), forced);
                assert_eq!(begun.is_none(), before == BreakerState::Open && !forced);
                self.0
                    .extend(begun.map(|begun| (node, Instant::now(), begun)));
            }
            Operation::End { which, how } if which < self.0.len() => {
                let (node, _, under_way) = self.0.remove(which);
                let before = snapshot(service, &ids(node)).breaker;
                let decides = under_way.admission != Admission::Usual;
                under_way.ended(Instant::now(), how);
                let after = snapshot(service, &ids(node)).breaker;
                match how {
                    Condition::Well | Condition::Alive if decides => {
                        assert_eq!(after, BreakerState::Closed, "who answers is well");
                    }
                    Condition::Ill => {}
                    _ if !decides => assert_eq!(before, after, "nothing new"),
                    _ => {}
                }
            }
            Operation::End { .. } => {}
            Operation::Pass { millis } => advance(Duration::from_millis(millis)).await,
        }
    }
}

proptest! {
    #[test]
    fn health_agrees_with_a_list_of_what_is_under_way(operations in operations()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let service = ServiceHealth::default();
            let mut oracle = Oracle::default();
            for operation in operations {
                oracle.apply(&service, operation).await;
                oracle.check(&service);
            }
            oracle.0.clear();
            oracle.check(&service);
        });
    }
}
