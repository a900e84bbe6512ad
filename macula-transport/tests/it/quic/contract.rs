//! QUIC passes the suite of every transport, wherever it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use macula_transport::{Executor, NodeRuntime, Transport, contract};

use super::server;

/// Nodes on `runtime`, whoever calls them.
async fn run_on(runtime: &NodeRuntime) {
    let seed = AtomicU8::new(1);
    let node = || async {
        let seed = seed.fetch_add(1, Ordering::Relaxed);
        let node = runtime.spawn(server(seed)).await.unwrap();
        node as Arc<dyn Transport>
    };
    contract::run(|| async { (node().await, node().await) }).await;
}

#[tokio::test]
async fn quic_keeps_the_contract_on_the_current_runtime() {
    run_on(&Executor::Current.start().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_keeps_the_contract_on_several_threads() {
    run_on(&Executor::Current.start().unwrap()).await;
}

#[tokio::test]
async fn quic_keeps_the_contract_on_a_runtime_of_its_own() {
    run_on(&Executor::Own.start().unwrap()).await;
}
