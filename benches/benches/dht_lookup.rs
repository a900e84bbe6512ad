//! Latency of finding a provider in a small DHT of real nodes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use benches::fixture::{Mesh, Wire};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

/// Nodes of the mesh.
const NODES: u16 = 32;

#[expect(
    clippy::expect_used,
    reason = "a bench whose finds fail measures nothing"
)]
fn dht_lookup(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mesh = runtime
        .block_on(Mesh::start(NODES, Wire::Memory))
        .expect("a mesh");
    let turns = AtomicUsize::new(0);
    let next = || turns.fetch_add(1, Ordering::Relaxed);
    let mut group = criterion.benchmark_group("dht_lookup");
    group.bench_function("find_one_provider", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || mesh.find(next()).await.expect("a provider"));
    });
    let body = Bytes::from_static(&[0x5a; 64]);
    group.bench_function("bare_request", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || mesh.request(next(), body.clone()).await.expect("an answer"));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30);
    targets = dht_lookup
}
criterion_main!(benches);
