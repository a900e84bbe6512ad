//! Lookups: what they cost beside a single request, and the machine beside a plain sort.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use bytes::Bytes;
use macula_core::Key;
use tokio::time::Instant;

use crate::figure::Unit;
use crate::fixture::{FullTable, Mesh};
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

/// What is measured of macula-dht.
pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "find of one provider in a small mesh, p50 over that of a bare request",
        unit: Unit::Ratio,
        goal: Goal::AtMost(10.0),
        clock: Clock::Real,
        run: find_latency,
    },
    Measurement {
        name: "requests per find of one provider in a small mesh, mean",
        unit: Unit::Count,
        goal: Goal::AtMost(10.0),
        clock: Clock::Real,
        run: find_requests,
    },
    Measurement {
        name: "answering FindNode from a full table, over sorting all its contacts",
        unit: Unit::Ratio,
        goal: Goal::AtMost(0.1),
        clock: Clock::Real,
        run: closest,
    },
];

/// Nodes of the small mesh.
const NODES: u16 = 32;

/// Bytes of the bare request: as many as a find's, more or less.
const BODY_BYTES: usize = 64;

/// Finds whose requests make one mean.
const BATCH: u32 = 64;

/// Keys looked up per side of a pair.
const KEYS: usize = 2_000;

/// Closest contacts wanted: what the machine answers with.
const K: usize = 20;

const SEED: u64 = 1;

fn find_latency(session: &Session) -> anyhow::Result<Estimate> {
    let mesh = Arc::new(session.block_on(Mesh::start(NODES))?);
    let turns = Arc::new(AtomicUsize::new(0));
    let next = move || turns.fetch_add(1, Ordering::Relaxed);
    let (of_find, of_request) = (mesh.clone(), mesh);
    let next_find = next.clone();
    let find = move || {
        let (mesh, turn) = (of_find.clone(), next_find());
        async move { mesh.find(turn).await.map(drop) }
    };
    let body = Bytes::from(vec![0x5a; BODY_BYTES]);
    let request = move || {
        let (mesh, turn, body) = (of_request.clone(), next(), body.clone());
        async move { mesh.request(turn, body).await }
    };
    session
        .paired(
            || Ok(session.load(1, find.clone())?.median_us()),
            || Ok(session.load(1, request.clone())?.median_us()),
        )?
        .ratio()
}

fn find_requests(session: &Session) -> anyhow::Result<Estimate> {
    session.block_on(async {
        let mesh = Mesh::start(NODES).await?;
        let mut means = Vec::with_capacity(session.pairs());
        let mut turn = 0;
        for _ in 0..session.pairs() {
            let mut requests = 0_u32;
            for _ in 0..BATCH {
                requests += u32::try_from(mesh.find(turn).await?)?;
                turn += 1;
            }
            means.push(f64::from(requests) / f64::from(BATCH));
        }
        Estimate::of_median(&means).context("too few batches")
    })
}

fn closest(session: &Session) -> anyhow::Result<Estimate> {
    let mut table = FullTable::new(SEED)?;
    let keys: Vec<Key> = (0..KEYS).map(|_| table.random_key()).collect();
    let mut ours = Vec::with_capacity(session.pairs());
    for pair in 0..=session.pairs() {
        let by_machine = time(&keys, |key| table.answer(key));
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
