//! What is told of providers that come and go.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use macula_core::NodeId;
use macula_registry::{RegistryConfig, RegistryEvent};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::cache::{found, record};
use crate::node::{Node, name, pass, settle};
use crate::scripted::{Answer, Script, ScriptedDht};

fn finds(answer: Answer) -> Script {
    Script {
        network: answer,
        ..Script::default()
    }
}

fn caller(answer: Answer) -> (Arc<ScriptedDht>, Node, Receiver<RegistryEvent>) {
    let dht = ScriptedDht::new(finds(answer));
    let node = Node::new(9, dht.clone());
    let events = node.registry.events();
    (dht, node, events)
}

fn node_id(index: u8) -> NodeId {
    record(index).provider()
}

/// The indexes of those who appeared, and of those who left, since this was last asked.
fn heard(events: &mut Receiver<RegistryEvent>) -> (Vec<u8>, Vec<u8>) {
    let index_of = |node| (0..10).find(|index| node_id(*index) == node).unwrap();
    let (mut appeared, mut left) = (Vec::new(), Vec::new());
    while let Ok(event) = events.try_recv() {
        match event {
            RegistryEvent::ProviderAppeared { provider, .. } => appeared.push(index_of(provider)),
            RegistryEvent::ProviderLeft { provider, .. } => left.push(index_of(provider)),
            other => unreachable!("{other:?}"),
        }
    }
    (appeared, left)
}

#[tokio::test(start_paused = true)]
async fn newer_answer_tells_who_came_and_who_went() {
    let (dht, node, mut events) = caller(found(&[(1, 600), (2, 600)]));
    node.resolve("app.echo").await.unwrap();
    assert_eq!(heard(&mut events), (vec![1, 2], vec![]));
    node.resolve_anew("app.echo").await.unwrap();
    assert_eq!(heard(&mut events), (vec![], vec![]));
    dht.set(finds(found(&[(3, 600), (2, 600)])));
    node.resolve_anew("app.echo").await.unwrap();
    assert_eq!(heard(&mut events), (vec![3], vec![1]));
    pass(60).await;
    dht.set(finds(found(&[(2, 600)])));
    node.resolve("app.echo").await.unwrap();
    settle().await;
    assert_eq!(heard(&mut events), (vec![], vec![3]));
    dht.set(finds(Answer::Absent));
    assert!(node.resolve_anew("app.echo").await.is_err());
    assert_eq!(heard(&mut events), (vec![], vec![2]));
}

#[tokio::test(start_paused = true)]
async fn provider_that_is_dead_or_gone_is_told_once() {
    let (_, node, mut events) = caller(found(&[(1, 600), (2, 600)]));
    node.resolve("app.echo").await.unwrap();
    heard(&mut events);
    for _ in 0..3 {
        node.registry
            .remove_provider(&name("app.echo"), &node_id(1));
    }
    assert_eq!(heard(&mut events), (vec![], vec![1]));
    for _ in 0..3 {
        node.registry.forget_provider(&node_id(2));
    }
    assert_eq!(heard(&mut events), (vec![], vec![2]));
}

#[tokio::test(start_paused = true)]
async fn expiry_is_told_when_somebody_looks_and_by_the_sweep_at_the_latest() {
    let (dht, node, mut events) = caller(found(&[(1, 5), (2, 7), (3, 300)]));
    node.resolve("app.echo").await.unwrap();
    heard(&mut events);
    dht.set(finds(Answer::Inconclusive));
    pass(5).await;
    assert_eq!(heard(&mut events), (vec![], vec![]));
    assert!(node.cached("app.echo").is_some());
    assert_eq!(heard(&mut events), (vec![], vec![1]));
    pass(60).await;
    assert_eq!(heard(&mut events), (vec![], vec![2]));
    pass(300).await;
    assert_eq!(heard(&mut events), (vec![], vec![3]));
    assert_eq!(node.registry.stats().cache.expired, 1);
}

#[tokio::test(start_paused = true)]
async fn clearing_and_making_room_tell_nothing() {
    let config = RegistryConfig {
        cache_capacity: NonZeroUsize::new(20).unwrap(),
        ..RegistryConfig::default()
    };
    let dht = ScriptedDht::new(finds(found(&[(1, 600)])));
    let node = Node::with_config(9, dht.clone(), config);
    node.resolve("app.echo").await.unwrap();
    let mut events = node.registry.events();
    node.registry.clear_cache();
    assert_eq!(heard(&mut events), (vec![], vec![]));
    node.resolve("app.echo").await.unwrap();
    assert_eq!(heard(&mut events), (vec![1], vec![]));
    dht.set(finds(Answer::Absent));
    for index in 0..100 {
        let _ = node.resolve(&format!("app.service_{index}")).await;
    }
    assert!(node.cached("app.echo").is_none());
    assert_eq!(heard(&mut events), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn subscriber_that_lags_loses_the_oldest_events_and_slows_nobody() {
    const ROUNDS: u64 = 500;
    let (_, node, mut events) = caller(found(&[(1, 600)]));
    let started_at = tokio::time::Instant::now();
    for _ in 0..ROUNDS {
        node.resolve("app.echo").await.unwrap();
        node.registry
            .remove_provider(&name("app.echo"), &node_id(1));
    }
    assert_eq!(started_at.elapsed(), Duration::ZERO);
    let Err(TryRecvError::Lagged(lost)) = events.try_recv() else {
        panic!("lost some");
    };
    let (appeared, left) = heard(&mut events);
    let kept = u64::try_from(appeared.len() + left.len()).unwrap();
    assert_eq!(lost + kept, 2 * ROUNDS);
    assert!(kept > 0 && left.last() == Some(&1));
}
