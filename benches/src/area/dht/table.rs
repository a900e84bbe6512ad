//! The routing table, beside a plain sort.

use std::hint::black_box;

use anyhow::Context;
use macula_core::{Contact, Key};
use tokio::time::Instant;

use crate::fixture::FullTable;
use crate::session::Session;
use crate::statistics::Estimate;

/// Keys looked up per side of a pair.
const KEYS: usize = 2_000;

/// Closest contacts wanted: what the machine answers with.
const K: usize = 20;

const SEED: u64 = 1;

pub(super) fn closest(session: &Session) -> anyhow::Result<Estimate> {
    paired(
        session,
        |table, key| table.closest(key, K, see),
        |table, key| table.sorted(key, K, see),
    )
}

/// The same in nanoseconds.
pub(super) fn closest_nanos(session: &Session) -> anyhow::Result<Estimate> {
    let mut table = FullTable::new(SEED)?;
    let keys: Vec<Key> = (0..KEYS).map(|_| table.random_key()).collect();
    let times = (0..=session.pairs()).map(|_| time(&keys, |key| table.closest(key, K, see)));
    // The first one only warms up.
    let nanos: Vec<f64> = times.skip(1).map(|took| took * 1e9 / KEYS as f64).collect();
    Estimate::of_median(&nanos).context("too few runs")
}

pub(super) fn answer(session: &Session) -> anyhow::Result<Estimate> {
    paired(
        session,
        |table, key| drop(black_box(table.answer(key))),
        |table, key| drop(black_box(table.closest_by_sorting(key, K))),
    )
}

fn see(contact: &Contact) {
    black_box(contact);
}

/// What we take for some keys, over what they take.
fn paired(
    session: &Session,
    ours: impl Fn(&mut FullTable, Key),
    theirs: impl Fn(&mut FullTable, Key),
) -> anyhow::Result<Estimate> {
    let mut table = FullTable::new(SEED)?;
    let keys: Vec<Key> = (0..KEYS).map(|_| table.random_key()).collect();
    let mut ratios = Vec::with_capacity(session.pairs());
    for pair in 0..=session.pairs() {
        let ratio =
            time(&keys, |key| ours(&mut table, key)) / time(&keys, |key| theirs(&mut table, key));
        // The first one only warms up.
        if pair > 0 {
            ratios.push(ratio);
        }
    }
    Estimate::of_median(&ratios).context("too few pairs")
}

fn time(keys: &[Key], mut lookup: impl FnMut(Key)) -> f64 {
    let started = Instant::now();
    for key in keys {
        lookup(*key);
    }
    started.elapsed().as_secs_f64()
}
