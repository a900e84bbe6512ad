//! What threads must not disturb: the order of events, and batches that are full.

use std::collections::BTreeSet;

use macula_core::ServiceName;
use macula_registry::{AdvertiseOptions, Advertisement, RegistryEvent};
use tokio::sync::broadcast::Receiver;

use crate::node::{Node, name};
use crate::scripted::{Script, ScriptedDht};

/// Everything that is told until the registry is gone.
async fn told(mut events: Receiver<RegistryEvent>) -> Vec<RegistryEvent> {
    let mut told = Vec::new();
    while let Ok(event) = events.recv().await {
        told.push(event);
    }
    told
}

fn is_about(event: &RegistryEvent) -> &ServiceName {
    match event {
        RegistryEvent::Advertised { service, .. } | RegistryEvent::Withdrawn { service } => service,
        other => unreachable!("nothing fails: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_or_counted_of_a_service_after_its_end() {
    for _ in 0..100 {
        let node = Node::new(1, ScriptedDht::new(Script::default()));
        let mut events = node.registry.events();
        let all = node.registry.events();
        for index in 0..64 {
            let registry = node.registry.clone();
            let service = name(&format!("app.service_{index}"));
            tokio::spawn(async move {
                let options = AdvertiseOptions::default();
                let advertised = registry.advertise(service, "handler", options).await;
                advertised.map(Advertisement::detach)
            });
        }
        events.recv().await.unwrap();
        node.registry.close();
        drop((node, events));
        let mut withdrawn = BTreeSet::new();
        for event in told(all).await {
            let service = is_about(&event).clone();
            assert!(!withdrawn.contains(&service), "{event:?} after its end");
            if matches!(event, RegistryEvent::Withdrawn { .. }) {
                withdrawn.insert(service);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_sends_full_batches_from_the_first_one_on() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let mut advertising = tokio::task::JoinSet::new();
    for index in 0..640 {
        let registry = node.registry.clone();
        let service = name(&format!("app.service_{index}"));
        advertising.spawn(async move {
            let options = AdvertiseOptions::default();
            let advertised = registry.advertise(service, "handler", options).await;
            advertised.map(Advertisement::detach)
        });
    }
    advertising.join_all().await;
    node.registry.withdraw_all().await;
    let withdrawals = dht.withdrawals();
    let sizes: Vec<_> = withdrawals.iter().map(|(_, batch)| batch.len()).collect();
    assert_eq!(sizes, [64; 10]);
}
