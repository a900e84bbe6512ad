//! Lookups: what they cost beside a single request, and the machine beside a plain sort.

use std::hint::black_box;

use anyhow::Context;
use macula_core::Key;
use tokio::time::Instant;

use crate::figure::Unit;
use crate::fixture::FullTable;
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

/// What is measured of macula-dht.
pub(super) const MEASUREMENTS: &[Measurement] = &[Measurement {
    name: "answering FindNode from a full table, over sorting all its contacts",
    unit: Unit::Ratio,
    goal: Goal::AtMost(0.1),
    clock: Clock::Real,
    run: closest,
}];

/// Keys looked up per side of a pair.
const KEYS: usize = 2_000;

/// Closest contacts wanted: what the machine answers with.
const K: usize = 20;

const SEED: u64 = 1;

fn closest(session: &Session) -> anyhow::Result<Estimate> {
    let mut table = FullTable::new(SEED)?;
    let keys: Vec<Key> = (0..KEYS).map(|_| table.random_key()).collect();
    let mut ours = Vec::with_capacity(session.pairs());
    for pair in 0..=session.pairs() {
        let by_machine = time(&keys, |key| table.closest(key));
        let by_sorting = time(&keys, |key| table.closest_by_sorting(key, K));
        // The first one only warms up.
        if pair > 0 {
            ours.push(by_machine / by_sorting);
        }
    }
    Estimate::of_median(&ours).context("too few pairs")
}

fn time<T>(keys: &[Key], mut lookup: impl FnMut(Key) -> T) -> f64 {
    let started = Instant::now();
    for key in keys {
        black_box(lookup(*key));
    }
    started.elapsed().as_secs_f64()
}
