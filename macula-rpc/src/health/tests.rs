use std::time::Duration;

use tokio::time::{Instant, advance};

use super::*;

const SLOW: Duration = Duration::from_millis(100);

fn service() -> ServiceName {
    "app.f".parse().unwrap()
}

fn node(seed: u8) -> NodeId {
    macula_core::SecretKey::from_bytes(&[seed; 32]).node_id()
}

fn snapshot(service: &ServiceHealth, node_id: &NodeId) -> ProviderHealth {
    let now = Instant::now();
    let known = service.providers();
    known
        .get(node_id)
        .map_or_else(ProviderHealth::default, |vitals| vitals.snapshot(now))
}

async fn attempt(service: &Arc<ServiceHealth>, node_id: NodeId, takes: Duration, how: Condition) {
    let under_way = service.begin(Instant::now(), node_id, true).unwrap();
    advance(takes).await;
    under_way.ended(how);
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
async fn attempts_under_way_are_counted_until_they_end_or_are_given_up() {
    let health = Health::default();
    let service = health.of(Instant::now(), &service());
    let first = service.begin(Instant::now(), node(1), false).unwrap();
    advance(SLOW).await;
    let second = service.begin(Instant::now(), node(1), false).unwrap();
    let known = snapshot(&service, &node(1));
    assert_eq!((known.in_flight, known.waiting), (2, Some(SLOW)));
    drop(first);
    second.ended(Condition::Well);
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
        let name = format!("app.f{i}").parse().unwrap();
        health.of(Instant::now(), &name);
    }
    assert!(health.services.len() <= MAX_SERVICES);
    let service = health.of(Instant::now(), &service());
    let ids = |i: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&i.to_be_bytes());
        NodeId::from_bytes(bytes)
    };
    for i in 0..MAX_PROVIDERS + 1 {
        advance(Duration::from_millis(1)).await;
        attempt(&service, ids(i), Duration::ZERO, Condition::Well).await;
    }
    let known = service.providers();
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
