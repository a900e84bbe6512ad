//! What every node answers about itself.

use macula_client::dht::DhtError;
use macula_client::registry::RegistryEvent;
use macula_client::system::{
    HealthStatus, MAX_TOLD_SERVICES, NodeHealth, NodeInfo, NodeStats, Pong, SYSTEM_VERSION,
};
use macula_client::testnet::Testnet;
use macula_client::{
    AdvertisementState, CallError, Client, HandlerError, SecretKey, ServiceName, Source,
};
use serde_json::{Value, json};

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
    let transport = &provider["endpoint"]["transport"];
    assert_eq!(transport["connections"], 1);
    for none in ["overflowed", "handshakes_retried", "handshakes_refused"] {
        assert_eq!(transport[none], 0, "{none}");
    }
    assert_eq!(provider["dht"]["kad"]["contacts"], 1);
    let caller = stats(one, one).await.unwrap();
    assert_eq!(caller["caller"]["failovers"], 0);
    assert_eq!(caller["registry"]["cache"]["lookups"], 1);
    net.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_connected_is_asked_by_its_id() {
    let nodes = InMemory::new();
    let (asked, asker) = (nodes.node().await, nodes.node().await);
    // What a node provides tells this DHT where it is; the Kademlia DHT knows nodes themselves.
    let _ad = asked
        .advertise("demo.f", |()| async { Ok(1_u8) })
        .await
        .unwrap();
    assert!(asker.peers().is_empty());
    let ping = asker
        .call::<_, _, Pong>("_sys.ping", &())
        .provider(asked.node_id());
    let reply = ping.detailed().await.unwrap();
    assert_eq!(reply.provider, asked.node_id());
    assert_eq!(reply.source, Source::Dht);
    let lookups = asker.stats().registry.cache.lookups;
    assert_eq!(
        lookups, 0,
        "nobody is asked who provides what everybody does"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unlisted_service_is_called_at_a_node_that_is_not_connected() {
    let nodes = InMemory::new();
    let (provider, caller) = (nodes.node().await, nodes.node().await);
    let one = |()| async { Ok(1_u8) };
    let _listed = provider.advertise("demo.f", one).await.unwrap();
    let _unlisted = provider.advertise("demo.g", one).unlisted().await.unwrap();
    let call = |id| caller.call::<_, _, u8>("demo.g", &()).provider(id);
    assert_eq!(call(provider.node_id()).await, Ok(1));
    // Of somebody whom nobody knows there is nothing to say.
    let nobody = SecretKey::generate().unwrap().node_id();
    assert_eq!(call(nobody).await, Err(CallError::ServiceNotFound));
}

#[tokio::test]
async fn every_node_of_a_network_is_asked_by_its_id_through_any_other() {
    let net = Testnet::start(6).await.unwrap();
    let caller = net.builder().client_role().connect().await.unwrap();
    for node in net.nodes() {
        let id = node.node_id();
        let pong: Pong = caller
            .call_json("_sys.ping", &())
            .provider(id)
            .await
            .unwrap();
        assert_eq!(pong.node_id, id);
    }
    let killed = net.kill(4).await;
    let ping = caller.call::<_, _, Pong>("_sys.ping", &()).provider(killed);
    assert!(ping.await.is_err());
    caller.shutdown().await;
    net.shutdown().await;
}

#[tokio::test]
async fn stats_of_a_node_tell_every_service_on_both_sides() {
    let net = Testnet::start(2).await.unwrap();
    let (caller, provider) = (net.node(0), net.node(1));
    let double = |x: u64| async move { Ok(2 * x) };
    let _ad = provider.advertise("math.double", double).await.unwrap();
    for x in 0..5_u64 {
        assert_eq!(caller.call::<_, _, u64>("math.double", &x).await, Ok(2 * x));
    }
    let name: ServiceName = "math.double".parse().unwrap();
    let called = caller.stats().called.services[&name].clone();
    assert_eq!(
        (called.calls, called.attempts, called.latency.count),
        (5, 5, 5)
    );
    let served = provider.stats().served.services[&name].clone();
    assert_eq!((served.calls, served.duration.count), (5, 5));
    // The same over the network, for whoever asks.
    let told = caller.call_json::<_, _, NodeStats>("_sys.stats", &());
    let told = told.provider(provider.node_id()).await.unwrap();
    assert_eq!(told.served.services[&name], served);
    let told = caller.call::<_, _, NodeStats>("_sys.stats", &());
    let told = told.provider(provider.node_id()).await.unwrap();
    assert_eq!(told.served.services[&name], served);
    net.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_stats_names_the_busiest_services_and_counts_all() {
    let nodes = InMemory::new();
    let node = nodes.node().await;
    for number in 0..=MAX_TOLD_SERVICES {
        let nowhere = format!("demo.nowhere{number}");
        let calls = if number == 7 { 2 } else { 1 };
        for _ in 0..calls {
            node.call::<_, _, ()>(nowhere.as_str(), &())
                .await
                .unwrap_err();
        }
    }
    let told: NodeStats = node.call_json("_sys.stats", &()).await.unwrap();
    let called = told.called;
    assert_eq!(called.services.len(), MAX_TOLD_SERVICES);
    let busiest: ServiceName = "demo.nowhere7".parse().unwrap();
    assert_eq!(called.services[&busiest].calls, 2);
    assert!(called.other.calls > 0);
    // The question itself is a call too, and was under way.
    let total = called.total();
    assert_eq!(total.calls, MAX_TOLD_SERVICES as u64 + 3);
    assert_eq!(total.running, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_of_services_and_of_the_node_agree_while_calls_go_on() {
    let nodes = InMemory::new();
    let node = nodes.node().await;
    let one = |()| async { Ok(1_u8) };
    let _ad = node.advertise("demo.f", one).await.unwrap();
    let caller = node.clone();
    let calling = tokio::spawn(async move {
        loop {
            caller.call::<_, _, u8>("demo.f", &()).await.unwrap();
        }
    });
    for _ in 0..1000 {
        let stats = node.stats();
        assert_eq!(stats.caller.calls, stats.called.total().calls);
        assert_eq!(stats.server.calls, stats.served.total().calls);
        tokio::task::yield_now().await;
    }
    calling.abort();
}

#[tokio::test(start_paused = true)]
async fn stats_of_another_version_are_read_as_far_as_they_are_known() {
    let nodes = InMemory::new();
    let node = nodes.node().await;
    let fails = |()| async { Err::<u8, _>(HandlerError::new("no luck")) };
    let _ad = node.advertise("demo.f", fails).await.unwrap();
    node.call::<_, _, u8>("demo.f", &()).await.unwrap_err();
    let stats = node.stats();
    let mut told = serde_json::to_value(&stats).unwrap();
    for path in ["/called/services/demo.f", "/served/services/demo.f"] {
        let service = told.pointer_mut(path).unwrap();
        service["failures"]["bewitched"] = json!(2);
        service["spells"] = json!({"cast": 1});
    }
    assert_eq!(serde_json::from_value(told.clone()).ok(), Some(stats));

    for (path, missing) in [
        ("/endpoint", "dials"),
        ("/registry", "local_services"),
        ("/registry/cache", "hits"),
        ("/registry/publish", "failed"),
        ("/caller", "refreshes"),
        ("/server", "denied"),
        ("/called/services/demo.f", "failures"),
        ("/called/services/demo.f", "retries"),
        ("/served/services/demo.f", "running"),
        ("/served/services/demo.f/duration", "p90_nanos"),
        ("/served", "other"),
        ("", "called"),
    ] {
        let layer = told.pointer_mut(path).unwrap().as_object_mut().unwrap();
        assert!(layer.remove(missing).is_some(), "{path}/{missing}");
    }
    told["dht"] = json!({"kad": {}});
    told["endpoint"]["traffic"] = json!({});
    told["endpoint"]["transport"] = json!({"connections": 1, "portals": 2});
    let read: NodeStats = serde_json::from_value(told).unwrap();
    let served = &read.served.services["demo.f"];
    assert_eq!((served.calls, served.duration.p90_nanos), (1, 0));
    assert_eq!(read.called, Default::default());
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
