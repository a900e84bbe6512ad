//! Counts the allocations in hits of the discovery cache, for one of the figures.
//!
//! The allocator that counts is that of the whole program, so this is one of its own.

use std::hint::black_box;
use std::io::{self, Write};

use anyhow::ensure;
use benches::area::registry::HitBench;
use tokio::runtime::Runtime;

fn main() -> anyhow::Result<()> {
    // An allocator that does not count would find none either.
    let counted = allocation_counter::measure(|| drop(black_box(Box::new(0_u64))));
    ensure!(counted.count_total == 1, "allocations are not counted");
    let runtime = Runtime::new()?;
    let bench = runtime.block_on(HitBench::start())?;
    // What a thread sets up when it hits for the first time is none of the hits' cost.
    ensure!(bench.hit(0), "a name is not cached");
    let mut hits = 0;
    let counted = allocation_counter::measure(|| {
        let ranks = bench.ranks().iter();
        hits = ranks.filter(|rank| bench.hit(**rank)).count();
    });
    ensure!(hits == bench.ranks().len(), "a name is not cached any more");
    writeln!(io::stdout(), "{}", counted.count_total)?;
    Ok(())
}
