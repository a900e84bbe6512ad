//! The closest contacts of a full routing table: found by the machine, and by sorting all.

use std::hint::black_box;
use std::time::Duration;

use benches::fixture::FullTable;
use criterion::{Criterion, criterion_group, criterion_main};
use macula_core::Key;

/// Keys looked up in turn, so that no branch is learnt by heart.
const KEYS: usize = 4096;

/// Closest contacts wanted: what a node answers with.
const K: usize = 20;

#[expect(
    clippy::expect_used,
    reason = "a bench without its table measures nothing"
)]
fn closest(criterion: &mut Criterion) {
    let mut table = FullTable::new(1).expect("a full table");
    let keys: Vec<Key> = (0..KEYS).map(|_| table.random_key()).collect();
    let mut group = criterion.benchmark_group("routing_table");
    let mut turns = keys.iter().cycle().copied();
    let mut next = || turns.next().unwrap_or(keys[0]);
    group.bench_function("closest", |bencher| {
        bencher.iter(|| {
            table.closest(next(), K, |contact| {
                black_box(contact);
            });
        });
    });
    group.bench_function("sort_all", |bencher| {
        bencher.iter(|| {
            table.sorted(next(), K, |contact| {
                black_box(contact);
            });
        });
    });
    group.bench_function("answer_find_node", |bencher| {
        bencher.iter(|| table.answer(next()));
    });
    group.bench_function("sort_all_and_clone", |bencher| {
        bencher.iter(|| table.closest_by_sorting(next(), K));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30);
    targets = closest
}
criterion_main!(benches);
