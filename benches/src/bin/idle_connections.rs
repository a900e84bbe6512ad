//! Holds idle connections and counts what they keep allocated, for one of the figures.
//!
//! The allocator that counts is that of the whole program, so this is one of its own.

use std::hint::black_box;
use std::io;

use anyhow::ensure;
use benches::part::Holder;
use clap::Parser;

/// Holds connections to the addresses that come in.
#[derive(Debug, Parser)]
struct Arguments {
    /// Who holds them
    holder: Holder,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // An allocator that does not count would find none either.
    let mut kept = None;
    let counted = allocation_counter::measure(|| kept = Some(black_box(Box::new(0_u64))));
    ensure!(counted.bytes_current == 8, "allocations are not counted");
    drop(kept);
    arguments
        .holder
        .play(io::stdin().lock(), io::stdout().lock(), bytes_kept)
}

#[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^53")]
fn bytes_kept(work: &mut dyn FnMut()) -> f64 {
    allocation_counter::measure(work).bytes_current as f64
}
