//! The discovery cache: time of a hit, and how many calls hit.

use std::io::{self, Write};
use std::time::Duration;

use benches::area::registry::{HitBench, zipf_hits};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

/// Names called when hits are counted.
const NAMES: u32 = 200;

/// Virtual seconds of calls before hits are counted, and of those that are.
const WARM_UP_SECONDS: u32 = 5;
const SECONDS: u32 = 20;

/// What is measured, by name.
type Hit = (&'static str, fn(&HitBench, usize) -> bool);

const HITS: &[Hit] = &[
    ("hit", HitBench::hit),
    ("local", HitBench::local_hit),
    ("dashmap", HitBench::dashmap_hit),
    ("moka", HitBench::moka_hit),
    ("papaya", HitBench::papaya_hit),
];

#[expect(
    clippy::expect_used,
    reason = "a bench without its names has nothing to measure"
)]
fn hit_time(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let names = runtime.block_on(HitBench::start()).expect("names");
    for threads in [1, 2] {
        let mut group = criterion.benchmark_group(format!("discovery_cache/{threads}_threads"));
        group.throughput(Throughput::Elements((threads * names.ranks().len()) as u64));
        for (name, hit) in HITS {
            group.bench_function(*name, |bencher| {
                bencher.iter_custom(|rounds| {
                    let round = || names.time(threads, hit).expect("all names are cached");
                    (0..rounds).map(|_| round()).sum()
                });
            });
        }
        group.finish();
    }
}

/// The rate is the same in every run, as the calls are seeded and their time is virtual; what
/// criterion measures is how long the simulation takes.
#[expect(
    clippy::expect_used,
    reason = "a bench without its names has nothing to measure"
)]
fn hit_rate(criterion: &mut Criterion) {
    let run = || zipf_hits(NAMES, WARM_UP_SECONDS, SECONDS).expect("every name is found");
    let counted = run();
    writeln!(
        io::stdout(),
        "discovery_cache/hit_rate: {} of {} calls",
        counted.hits,
        counted.calls
    )
    .expect("a place to print to");
    let mut group = criterion.benchmark_group("discovery_cache");
    group.bench_function("hit_rate_simulation", |bencher| bencher.iter(run));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20);
    targets = hit_time, hit_rate
}
criterion_main!(benches);
