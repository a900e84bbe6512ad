//! What is left of a node that is gone: nothing.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use macula_client::system::{HealthStatus, NodeHealth};
use macula_client::testnet::Testnet;
use macula_client::{Advertisement, CallError, Client, Executed, Executor};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::memory::InMemory;

/// The longest that an awaited event may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn dropping_the_last_client_frees_its_thread_its_port_and_its_handlers() {
    let net = Testnet::start(2).await.unwrap();
    let runtime = Executor::Own.start().unwrap();
    let thread = runtime.spawn(async { std::fs::read_link("/proc/thread-self") });
    let thread = Path::new("/proc").join(thread.await.unwrap().unwrap());
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let client = Client::builder()
        .runtime(runtime)
        .listen(listen)
        .bootstrap([net.node(0).contact()])
        .connect()
        .await
        .unwrap();
    let listens_at = client.contact().addresses[0];
    assert!(thread.exists());

    let captured = Arc::new(());
    let handler = Arc::downgrade(&captured);
    client
        .advertise("demo.captures", move |()| {
            let _captured = captured.clone();
            async move { Ok(()) }
        })
        .await
        .unwrap()
        .detach();
    net.node(1)
        .call::<_, _, ()>("demo.captures", &())
        .await
        .unwrap();
    let _: () = client.call("demo.captures", &()).await.unwrap();

    let other = client.clone();
    drop(client);
    assert!(handler.upgrade().is_some(), "another clone is left");
    let dropped = Instant::now();
    drop(other);
    until("the handler is let go", || handler.upgrade().is_none()).await;
    until("the port is free", || UdpSocket::bind(listens_at).is_ok()).await;
    until("the thread has ended", || !thread.exists()).await;
    assert!(
        dropped.elapsed() < Duration::from_secs(5),
        "{:?}",
        dropped.elapsed()
    );
    net.shutdown().await;
}

#[tokio::test]
async fn a_service_is_found_no_more_after_its_handle_is_dropped_and_its_node_shut_down() {
    let (net, provider, advertisement) = provided().await;
    drop(advertisement);
    provider.shutdown().await;
    assert!(!is_found(net.node(0)).await);
    net.shutdown().await;
}

#[tokio::test]
async fn a_service_is_found_no_more_after_its_handle_and_its_client_are_dropped() {
    let (net, provider, advertisement) = provided().await;
    drop(advertisement);
    drop(provider);
    let gone = async {
        // Each look asks the network.
        while is_found(net.node(0)).await {}
    };
    timeout(PATIENCE, gone).await.unwrap();
    net.shutdown().await;
}

#[tokio::test]
async fn an_idle_network_shuts_down_at_once() {
    let net = Testnet::start(4).await.unwrap();
    let ad = net
        .node(1)
        .advertise("demo.here", |()| async move { Ok(()) })
        .await
        .unwrap();
    for node in net.nodes() {
        let _: () = node.call("demo.here", &()).await.unwrap();
    }
    let started = Instant::now();
    net.shutdown().await;
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    drop(ad);
}

#[tokio::test(start_paused = true)]
async fn a_node_withdraws_then_refuses_then_waits_then_closes_and_twice_is_harmless() {
    let nodes = InMemory::new();
    let provider = nodes.builder().connect().await.unwrap();
    let caller = nodes.builder().connect().await.unwrap();
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    let slow = provider.advertise("demo.slow", move |()| {
        begins.notify_one();
        async move {
            sleep(Duration::from_secs(1)).await;
            Ok(1_u8)
        }
    });
    let _slow = slow.await.unwrap();
    let fast = provider.advertise("demo.fast", |()| async move { Ok(2_u8) });
    let _fast = fast.await.unwrap();
    let calling = caller.clone();
    let call = tokio::spawn(async move { calling.call::<_, _, u8>("demo.slow", &()).await });
    begun.notified().await;

    let leaving = provider.clone();
    let shutdown = tokio::spawn(async move { leaving.shutdown().await });
    until("the records are withdrawn", || {
        nodes.dht.stats().records == 0
    })
    .await;
    let id = provider.node_id();
    let refused = caller.call::<_, _, u8>("demo.fast", &()).provider(id).await;
    assert_eq!(refused.unwrap_err().executed(), Executed::No);
    let health: NodeHealth = caller.call("_sys.health", &()).provider(id).await.unwrap();
    assert_eq!(health.status, HealthStatus::Draining);
    assert_eq!(health.peers, 1, "it still tells how it is");
    assert!(!call.is_finished() && !shutdown.is_finished());
    assert_eq!(call.await.unwrap(), Ok(1), "what runs is waited for");
    shutdown.await.unwrap();
    until("the connection is closed", || caller.peers().is_empty()).await;

    let again = Instant::now();
    provider.shutdown().await;
    assert!(again.elapsed() < Duration::from_secs(2));
}

async fn provided() -> (Testnet, Client, Advertisement) {
    let net = Testnet::start(2).await.unwrap();
    let provider = net.builder().connect().await.unwrap();
    let advertisement = provider
        .advertise("demo.here", |()| async move { Ok(()) })
        .await
        .unwrap();
    assert!(is_found(net.node(0)).await);
    (net, provider, advertisement)
}

/// Asks the network anew. A record of a node that is gone counts as found.
async fn is_found(node: &Client) -> bool {
    let called = node.call::<_, _, ()>("demo.here", &()).force_refresh();
    let called = timeout(PATIENCE, called).await.unwrap();
    !matches!(called, Err(CallError::ServiceNotFound))
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}
