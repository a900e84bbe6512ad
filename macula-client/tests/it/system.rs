//! What every node answers about itself.

use macula_client::dht::DhtError;
use macula_client::registry::RegistryEvent;
use macula_client::system::{HealthStatus, NodeHealth, NodeInfo, Pong, SYSTEM_VERSION};
use macula_client::testnet::Testnet;
use macula_client::{AdvertisementState, Client};
use serde_json::Value;

use crate::memory::InMemory;

#[tokio::test]
async fn every_node_answers_about_itself_here_and_elsewhere() {
    let net = Testnet::start(2).await.unwrap();
    let (one, two) = (net.node(0), net.node(1));
    let _ad = two
        .advertise("demo.f", |()| async { Ok(()) })
        .await
        .unwrap();
    for caller in [one, two] {
        let id = two.node_id();
        let pong: Pong = caller.call("_sys.ping", &()).provider(id).await.unwrap();
        assert_eq!((pong.version, pong.node_id), (SYSTEM_VERSION, id));
        let info: NodeInfo = caller
            .call_json("_sys.info", &())
            .provider(id)
            .await
            .unwrap();
        assert_eq!((info.node_id, info.serves), (id, true));
        assert_eq!(info.realm, *two.realm());
        assert_eq!(info.services, two.advertised());
        assert_eq!(info.services.len(), 1, "those of the system are not listed");
        let health: NodeHealth = caller.call("_sys.health", &()).provider(id).await.unwrap();
        assert_eq!(health.status, HealthStatus::Ok);
        assert_eq!((health.peers, health.degraded_services), (1, 0));
    }
    net.shutdown().await;
}

#[tokio::test]
async fn stats_tell_what_every_layer_counts() {
    let net = Testnet::start(2).await.unwrap();
    let (one, two) = (net.node(0), net.node(1));
    let _ad = two.advertise("demo.f", |()| async { Ok(7) }).await.unwrap();
    assert_eq!(one.call::<_, _, i32>("demo.f", &()).await.unwrap(), 7);
    let stats = |client: &macula_client::Client, of: &macula_client::Client| {
        client
            .call_json::<_, _, Value>("_sys.stats", &())
            .provider(of.node_id())
    };
    let provider = stats(one, two).await.unwrap();
    assert_eq!(provider["version"], SYSTEM_VERSION);
    assert_eq!(provider["server"]["succeeded"], 1);
    assert_eq!(provider["registry"]["publish"]["published"], 1);
    assert_eq!(provider["endpoint"]["connections"], 1);
    assert_eq!(provider["dht"]["kad"]["contacts"], 1);
    let caller = stats(one, one).await.unwrap();
    assert_eq!(caller["caller"]["failovers"], 0);
    assert_eq!(caller["registry"]["cache"]["lookups"], 1);
    net.shutdown().await;
}

#[tokio::test]
async fn names_of_the_system_are_found_by_nobody() {
    let net = Testnet::start(2).await.unwrap();
    assert!(net.node(0).providers("_sys.ping").await.is_err());
    net.shutdown().await;
}

async fn health_of(node: &Client) -> NodeHealth {
    node.call("_sys.health", &()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn service_that_cannot_be_published_is_degraded_for_all_to_see() {
    let nodes = InMemory::new();
    let node = nodes.builder().connect().await.unwrap();
    let mut events = node.registry_events();
    nodes.dht.set_reachable(false);
    let advertise = node.advertise("demo.one", |()| async move { Ok(1_u8) });
    let mut ad = advertise.await.unwrap();
    let cause = DhtError::Unreachable;
    let failures = 1;
    let degraded = AdvertisementState::Degraded { cause, failures };
    assert_eq!(ad.state(), degraded);
    let health = health_of(&node).await;
    assert_eq!(health.status, HealthStatus::Degraded);
    assert_eq!((health.degraded_services, health.is_reachable), (1, true));
    let service = ad.name().clone();
    let told = RegistryEvent::Degraded {
        service: service.clone(),
        cause,
        failures,
    };
    assert_eq!(events.recv().await.unwrap(), told);
    assert_eq!(node.call::<_, _, u8>("demo.one", &()).await, Ok(1));

    nodes.dht.set_reachable(true);
    while matches!(ad.changed().await, AdvertisementState::Degraded { .. }) {}
    let published = AdvertisementState::Published {
        holders: 1,
        full: 0,
    };
    assert_eq!(ad.state(), published);
    let health = health_of(&node).await;
    assert_eq!(health.status, HealthStatus::Ok);
    assert_eq!(health.degraded_services, 0);
    let told = RegistryEvent::Advertised {
        service,
        holders: 1,
    };
    assert_eq!(events.recv().await.unwrap(), told);
}
