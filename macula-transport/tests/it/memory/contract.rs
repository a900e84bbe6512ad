//! The suite of every transport, on memory.

use std::sync::Arc;
use std::time::Duration;

use macula_core::SecretKey;
use macula_transport::{MemoryNetwork, contract};

fn on_memory(latency_ms: u64) -> impl Fn() -> std::future::Ready<contract::Pair> {
    move || {
        let network = MemoryNetwork::new(7);
        network.set_latency(Duration::ZERO..=Duration::from_millis(latency_ms));
        let node = |seed| network.transport(&SecretKey::from_bytes(&[seed; 32]));
        let (a, b) = (node(1), node(2));
        std::future::ready((a as Arc<_>, b as Arc<_>))
    }
}

#[tokio::test(start_paused = true)]
async fn memory_fulfils_the_contract() {
    contract::run(on_memory(0)).await;
}

#[tokio::test(start_paused = true)]
async fn memory_with_latency_fulfils_the_contract() {
    contract::run(on_memory(50)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_on_several_threads_fulfils_the_contract() {
    contract::run(on_memory(2)).await;
}
