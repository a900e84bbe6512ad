//! What every node answers about itself.

use macula_client::system::{HealthStatus, NodeHealth, NodeInfo, Pong, SYSTEM_VERSION};
use macula_client::testnet::Testnet;
use serde_json::Value;

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
