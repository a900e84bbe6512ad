//! Warm unary calls through everything, over QUIC on loopback, and those of a node to itself.

use std::time::Duration;

use benches::fixture::{ClientPair, Ends, LocalService, ServicePair};
use benches::raw_quic::RawQuic;
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use macula_rpc::Runs;
use tokio::runtime::Runtime;

#[expect(
    clippy::expect_used,
    reason = "a bench whose calls fail measures nothing"
)]
fn unary_call(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let start = |runs| runtime.block_on(ServicePair::start(Ends::Together, runs));
    let pair = start(Runs::Spawned).expect("a service");
    let inline = start(Runs::Inline).expect("a service");
    let client = ClientPair::start(Runs::Spawned);
    let client = runtime.block_on(client).expect("clients");
    let local = LocalService::start(Runs::Inline);
    let local = runtime.block_on(local).expect("a local service");
    let raw = runtime.block_on(RawQuic::start()).expect("an echo");
    let body = Bytes::from_static(&[0x5a; 64]);
    let mut group = criterion.benchmark_group("unary_call");
    group.bench_function("warm_call", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || pair.call(body.clone()).await.expect("a result"));
    });
    group.bench_function("warm_call_inline", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || inline.call(body.clone()).await.expect("a result"));
    });
    group.bench_function("client_call", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || client.call(body.clone()).await.expect("a result"));
    });
    group.bench_function("bare_request", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || inline.request(body.clone()).await.expect("an answer"));
    });
    group.bench_function("bare_request_spawned", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || pair.request(body.clone()).await.expect("an answer"));
    });
    group.bench_function("local_call_inline", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || local.call(body.clone()).await.expect("a result"));
    });
    group.bench_function("dynamic_function", |bencher| {
        bencher.iter(|| local.call_function(&body).expect("a result"));
    });
    group.bench_function("raw_quic_stream", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || raw.request(body.clone()).await.expect("an echo"));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30);
    targets = unary_call
}
criterion_main!(benches);
