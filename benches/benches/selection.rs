//! The choice among providers, once they are known: what each call pays for it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use benches::fixture::{candidates, providers};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use macula_core::ServiceName;
use macula_rpc::{First, LeastLatency, ProviderSelector, Random, RoundRobin, Selection};

/// How many providers there are to choose from.
const COUNTS: [u8; 2] = [3, 20];

#[expect(
    clippy::expect_used,
    reason = "a bench without candidates has nothing to choose from"
)]
fn selection(criterion: &mut Criterion) {
    let service: ServiceName = "bench.selection.work".parse().expect("a name");
    let selectors: [(&str, Arc<dyn ProviderSelector>); 4] = [
        ("first", Arc::new(First)),
        ("random", Arc::new(Random::new(1))),
        ("round_robin", Arc::new(RoundRobin::new())),
        ("least_latency", Arc::new(LeastLatency::new(1))),
    ];
    let mut group = criterion.benchmark_group("selection");
    for count in COUNTS {
        let providers = providers(count).expect("records");
        let candidates = candidates(&providers);
        for (name, selector) in &selectors {
            let id = BenchmarkId::new(*name, count);
            group.bench_function(id, |bencher| {
                bencher
                    .iter(|| selector.select(black_box(&Selection::new(&service, 1, &candidates))));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(50);
    targets = selection
}
criterion_main!(benches);
