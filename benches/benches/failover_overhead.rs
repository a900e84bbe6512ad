//! Failover overhead: what a call costs that the first provider turns away, beside one that is
//! answered at once, both over the in-memory network.
//!
//! What callers notice when a provider dies under load is a figure: `cargo xtask figures rpc`.

use std::time::Duration;

use benches::fixture::{Begins, Standby};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tokio::runtime::Builder;

#[expect(
    clippy::expect_used,
    reason = "a bench whose calls fail measures nothing"
)]
fn failover_overhead(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let standby = runtime.block_on(Standby::start()).expect("nodes");
    let mut group = criterion.benchmark_group("failover_overhead");
    for (name, begins) in [
        ("answered_at_once", Begins::AtTheGoodOne),
        ("after_one_overloaded", Begins::AtTheFullOne),
    ] {
        group.bench_function(name, |bencher| {
            // A caller that has been turned away often enough would not try again.
            let caller = || standby.caller(begins).expect("a caller");
            bencher.to_async(&runtime).iter_batched(
                caller,
                async |caller| standby.call(caller, begins).await.expect("a result"),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30);
    targets = failover_overhead
}
criterion_main!(benches);
