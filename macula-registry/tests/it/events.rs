//! What subscribers hear of this node's own services.

use std::time::Duration;

use macula_core::ServiceName;
use macula_dht::DhtError;
use macula_registry::{AdvertiseOptions, AdvertisementState, RegistryEvent};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::node::{Node, in_time, name, pass, settle, until};
use crate::scripted::{Script, ScriptedDht};

fn heard(events: &mut Receiver<RegistryEvent>) -> Vec<RegistryEvent> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

fn withdrawn(heard: &[RegistryEvent]) -> Vec<ServiceName> {
    let names = heard.iter().filter_map(|event| match event {
        RegistryEvent::Withdrawn { service } => Some(service.clone()),
        _ => None,
    });
    names.collect()
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_service_is_told_in_order() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let mut events = node.registry.events();
    let mut advertisement = node.advertise("app.echo").await;
    pass(245).await;
    let (service, holders) = (name("app.echo"), 8);
    let advertised = RegistryEvent::Advertised { service, holders };
    let service = name("app.echo");
    let refreshed = RegistryEvent::Refreshed { service, holders };
    assert_eq!(heard(&mut events), [advertised.clone(), refreshed]);

    dht.set(Script {
        announce: Some(DhtError::Overloaded),
        ..Script::default()
    });
    let is_degraded = |state| matches!(state, AdvertisementState::Degraded { .. });
    until(&mut advertisement, is_degraded).await;
    dht.set(Script::default());
    pass(2).await;
    let (service, cause) = (name("app.echo"), DhtError::Overloaded);
    let degraded = RegistryEvent::Degraded {
        service,
        cause,
        failures: 1,
    };
    assert_eq!(heard(&mut events), [degraded, advertised]);

    assert!(in_time(advertisement.withdraw()).await.unwrap());
    let service = name("app.echo");
    assert_eq!(heard(&mut events), [RegistryEvent::Withdrawn { service }]);
    pass(1000).await;
    assert_eq!(heard(&mut events), []);
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_service_is_told_once() {
    let node = Node::new(1, ScriptedDht::new(Script::default()));
    let mut events = node.registry.events();
    let dropped = node.advertise("app.dropped").await;
    let replaced = node.advertise("app.replaced").await;
    let newer = node.advertise("app.replaced").await;
    drop(dropped);
    drop(replaced);
    node.advertise("app.named").await.detach();
    assert!(node.unadvertise("app.named").await);
    assert!(!node.unadvertise("app.named").await);
    let unlisted = AdvertiseOptions {
        listed: false,
        ..AdvertiseOptions::default()
    };
    let quiet = node.advertise_with("app.unlisted", unlisted).await;
    settle().await;
    let names = ["app.replaced", "app.dropped", "app.named"].map(name);
    assert_eq!(withdrawn(&heard(&mut events)), names);
    in_time(node.registry.withdraw_all()).await;
    node.registry.close();
    drop((newer, quiet));
    settle().await;
    let names = ["app.replaced", "app.unlisted"].map(name);
    assert_eq!(withdrawn(&heard(&mut events)), names);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_listen_slows_nobody_and_hears_how_much_was_missed() {
    let node = Node::new(1, ScriptedDht::new(Script::default()));
    let mut events = node.registry.events();
    let started_at = tokio::time::Instant::now();
    for index in 0..1000 {
        let service = format!("app.service_{index}");
        node.advertise(&service).await.detach();
    }
    assert!(started_at.elapsed() < Duration::from_secs(1));
    assert!(matches!(events.try_recv(), Err(TryRecvError::Lagged(744))));
    assert_eq!(heard(&mut events).len(), 256);
}
