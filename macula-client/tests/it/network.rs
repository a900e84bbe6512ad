//! Entering and leaving a network.

use std::net::SocketAddr;
use std::time::Duration;

use macula_client::testnet::Testnet;
use macula_client::{Client, ConnectError, Executor, SecretKey};
use tokio::time::timeout;

/// The longest that an awaited event may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn ten_calls_to_two_providers_open_two_connections() {
    let net = Testnet::start(1).await.unwrap();
    let mut advertisements = Vec::new();
    let mut providers = Vec::new();
    for number in [1, 2] {
        let provider = net.builder().connect().await.unwrap();
        let answer = move |()| async move { Ok(number) };
        advertisements.push(provider.advertise("demo.who", answer).await.unwrap());
        providers.push(provider);
    }
    let caller = net.builder().client_role().connect().await.unwrap();
    let before = caller.peers().len();
    for _ in 0..10 {
        let _: i32 = caller.call("demo.who", &()).await.unwrap();
    }
    // The DHT may have dialled them before the first call did.
    let provider_ids: Vec<_> = providers.iter().map(Client::node_id).collect();
    let peers = caller.peers();
    let to_providers = peers
        .iter()
        .filter(|peer| provider_ids.contains(&peer.node_id))
        .count();
    assert_eq!(to_providers, 2);
    assert!(peers.len() <= before + 2);
    net.shutdown().await;
}

#[tokio::test]
async fn a_node_learns_its_own_address_from_its_bootstrap_peer() {
    let net = Testnet::start(1).await.unwrap();
    let node = Client::builder()
        .bootstrap([net.node(0).contact()])
        .connect()
        .await
        .unwrap();
    let addresses = node.contact().addresses;
    assert_eq!(addresses.len(), 1);
    assert!(addresses[0].ip().is_loopback());
    let _ad = node
        .advertise("demo.here", |()| async move { Ok(()) })
        .await
        .unwrap();
    net.node(0)
        .call::<_, _, ()>("demo.here", &())
        .await
        .unwrap();
    node.shutdown().await;
    net.shutdown().await;
}

#[tokio::test]
async fn a_node_without_an_address_refuses_to_advertise() {
    let alone = Client::builder().connect().await.unwrap();
    assert!(alone.contact().addresses.is_empty());
    assert!(
        alone
            .advertise("demo.nowhere", |()| async move { Ok(()) })
            .await
            .is_err()
    );
    assert_eq!(alone.advertised(), []);
    alone.shutdown().await;
}

#[tokio::test]
async fn a_client_role_node_serves_over_the_connection_it_keeps() {
    let net = Testnet::start(1).await.unwrap();
    let phone = net.builder().client_role().connect().await.unwrap();
    let ring = |()| async move { Ok("ring".to_owned()) };
    assert!(
        phone.advertise("phone.ring", ring).await.is_err(),
        "nobody could dial it"
    );

    let _ad = phone
        .advertise("phone.ring", ring)
        .unlisted()
        .await
        .unwrap();
    let call = net
        .node(0)
        .call::<_, _, String>("phone.ring", &())
        .provider(phone.node_id());
    assert_eq!(call.await.unwrap(), "ring");
    phone.shutdown().await;
    net.shutdown().await;
}

#[tokio::test]
async fn realms_do_not_see_each_other() {
    let net = Testnet::start(1).await.unwrap();
    let stranger = net.builder().realm("elsewhere").connect().await;
    assert!(matches!(stranger, Err(ConnectError::Join(_))));
    net.shutdown().await;
}

#[tokio::test]
async fn starting_without_a_bootstrap_peer_is_an_error_unless_allowed() {
    let nobody = "127.0.0.1:1";
    let builder = || Client::builder().listen(loopback()).bootstrap([nobody]);
    assert!(matches!(
        builder().connect().await,
        Err(ConnectError::Join(_))
    ));
    let alone = builder().require_bootstrap(false).connect().await.unwrap();
    let _ad = alone
        .advertise("demo.alone", |()| async move { Ok(1_u8) })
        .await
        .unwrap();
    assert_eq!(alone.call::<_, _, u8>("demo.alone", &()).await.unwrap(), 1);
    alone.shutdown().await;
}

#[tokio::test]
async fn bad_settings_are_refused_with_their_reason() {
    let realm = Client::builder().realm("no realm").connect().await;
    assert!(matches!(realm, Err(ConnectError::Realm(_))));
    let bootstrap = Client::builder().bootstrap(["nonsense"]).connect().await;
    assert!(matches!(bootstrap, Err(ConnectError::Bootstrap(_))));
    let unspecified = "0.0.0.0:9443".parse::<SocketAddr>().unwrap();
    let advertised = Client::builder()
        .advertise_addresses([unspecified])
        .connect()
        .await;
    assert!(matches!(advertised, Err(ConnectError::AdvertiseAddress)));
}

#[tokio::test]
async fn shutdown_frees_the_port_and_may_be_repeated() {
    for executor in [Executor::Own, Executor::Current] {
        let node = Client::builder()
            .listen(loopback())
            .executor(executor)
            .connect()
            .await
            .unwrap();
        let addr = node.contact().addresses[0];
        timeout(PATIENCE, node.shutdown()).await.unwrap();
        timeout(PATIENCE, node.shutdown()).await.unwrap();
        let again = Client::builder().listen(addr).connect().await.unwrap();
        again.shutdown().await;
    }
}

#[tokio::test]
async fn dropping_the_last_clone_leaves_the_network() {
    let net = Testnet::start(1).await.unwrap();
    let secret_key = SecretKey::generate().unwrap();
    let node_id = secret_key.node_id();
    let node = net
        .builder()
        .secret_key(secret_key)
        .connect()
        .await
        .unwrap();
    let mut events = net.node(0).events();
    drop(node);
    let left = async {
        while events.recv().await.unwrap()
            != macula_client::transport::PeerEvent::Disconnected(node_id)
        {}
    };
    timeout(PATIENCE, left).await.unwrap();
    net.shutdown().await;
}

#[tokio::test]
async fn a_withdrawal_that_one_holder_does_not_answer_counts_as_withdrawn() {
    let net = Testnet::start(4).await.unwrap();
    let provider = net.node(1);
    let ad = provider.advertise("demo.gone", |()| async move { Ok(()) });
    ad.await.unwrap().detach();
    net.kill(2).await;
    let unadvertised = timeout(PATIENCE, provider.unadvertise("demo.gone")).await;
    assert!(unadvertised.unwrap().unwrap());
    let stats = provider.stats().registry.publish;
    assert_eq!((stats.withdrawn, stats.withdrawals_given_up), (1, 0));
    assert!(net.node(3).providers("demo.gone").await.is_err());
    net.shutdown().await;
}
