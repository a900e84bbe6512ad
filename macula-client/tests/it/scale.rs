//! Many services, many calls, and no more memory than it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use macula_client::testnet::Testnet;
use macula_client::{Client, ServiceName};
use tokio::task::JoinSet;

const NODES: usize = 20;
const SERVICES: usize = 1_000;
const CALLS: u32 = 100_000;

/// Nodes that call; each comes to know all services.
const CALLERS: usize = 4;

/// How many calls are under way at a time.
const CONCURRENCY: usize = 64;

/// Twenty nodes share a thread of a machine that may have other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// After so many calls all names are cached and all connections are open.
const WARM: u32 = CALLS / 4;

/// What the memory of the process may grow by in the other calls: room for what an allocator does
/// not give back at once, and an eighth of a kilobyte for each call would not fit.
const MAX_GROWTH_KIB: u64 = 8 * 1024;

fn name(number: usize) -> ServiceName {
    format!("scale.n{number}").parse().unwrap()
}

/// Each service adds its own number.
async fn advertise(net: &Testnet) {
    let mut advertising = JoinSet::new();
    for number in 0..SERVICES {
        let node = net.node(number % NODES).clone();
        advertising.spawn(async move {
            let add = move |x: u64| async move { Ok(x + number as u64) };
            node.advertise(name(number), add).await.unwrap().detach();
        });
    }
    advertising.join_all().await;
}

/// Calls names at random until nobody has calls left to make.
async fn call(client: Client, left: Arc<AtomicU32>) {
    let take = |left: u32| left.checked_sub(1);
    while let Ok(call) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
        let number = scattered(call) as usize % SERVICES;
        let sum = client.call::<_, _, u64>(name(number), &u64::from(call));
        let sum = sum.timeout(PATIENCE).await.unwrap();
        assert_eq!(sum, u64::from(call) + number as u64);
    }
}

/// Another number for each, in no order (Knuth's multiplicative hashing).
fn scattered(number: u32) -> u32 {
    number.wrapping_mul(2_654_435_761).rotate_left(16)
}

async fn make(net: &Testnet, calls: u32) {
    let left = Arc::new(AtomicU32::new(calls));
    let mut calling = JoinSet::new();
    for caller in 0..CONCURRENCY {
        let client = net.node(caller % CALLERS).clone();
        calling.spawn(call(client, left.clone()));
    }
    calling.join_all().await;
}

#[cfg(target_os = "linux")]
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1);
    kib.unwrap().parse().unwrap()
}

/// Elsewhere only the calls are looked at.
#[cfg(not(target_os = "linux"))]
fn resident_kib() -> u64 {
    0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_services_of_twenty_nodes_answer_a_hundred_thousand_calls_in_bounded_memory() {
    let net = Testnet::start(NODES).await.unwrap();
    advertise(&net).await;
    make(&net, WARM).await;
    let warm = resident_kib();
    make(&net, CALLS - WARM).await;
    let grown = resident_kib().saturating_sub(warm);
    assert!(grown <= MAX_GROWTH_KIB, "{grown} KiB on {warm} KiB");
    let stats = net.nodes().iter().map(|node| node.stats().caller);
    let (calls, failed) = stats.fold((0, 0), |(calls, failed), stats| {
        (calls + stats.calls, failed + stats.failed)
    });
    assert_eq!((calls, failed), (u64::from(CALLS), 0));
    net.shutdown().await;
}
