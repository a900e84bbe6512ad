//! Lookups among real nodes: endpoints, messages, signatures and all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use bytes::Bytes;

use crate::cpu;
use crate::fixture::{Mesh, Wire};
use crate::session::Session;
use crate::statistics::Estimate;

/// Nodes of the small mesh.
const FEW: u16 = 32;

/// Nodes of the mesh over QUIC: as many as the alternatives were measured with.
const MANY: u16 = 256;

/// Nodes that look, where they are to be connected to all they ask.
const SEEKERS: usize = 4;

/// Bytes of the bare request: as many as a find's, more or less.
const BODY_BYTES: usize = 64;

/// Lookups that make one mean.
const BATCH: usize = 64;

pub(super) fn find_latency(session: &Session) -> anyhow::Result<Estimate> {
    let mesh = Arc::new(session.block_on(Mesh::start(FEW, Wire::Memory))?);
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

/// Processor time of everybody together, in microseconds per exhaustive lookup by nodes that are
/// connected to nearly all.
pub(super) fn lookup_cpu_over_quic(session: &Session) -> anyhow::Result<Estimate> {
    let mesh = session.block_on(Mesh::start(MANY, Wire::Quic))?;
    cpu_of_lookups(session, &mesh, |turn| turn % SEEKERS)
}

/// The same by each node in turn, which has to dial whom it asks.
pub(super) fn cold_lookup_cpu_over_quic(session: &Session) -> anyhow::Result<Estimate> {
    let mesh = session.block_on(Mesh::start(MANY, Wire::Quic))?;
    cpu_of_lookups(session, &mesh, |turn| turn)
}

fn cpu_of_lookups(
    session: &Session,
    mesh: &Mesh,
    seeker: impl Fn(usize) -> usize,
) -> anyhow::Result<Estimate> {
    let mut names = 0..;
    let mut batch = || -> anyhow::Result<f64> {
        let before = cpu::used();
        session.block_on(async {
            for name in names.by_ref().take(BATCH) {
                mesh.find_in_vain(seeker(name), name).await?;
            }
            anyhow::Ok(())
        })?;
        let used = cpu::used().saturating_sub(before);
        Ok(used.as_secs_f64() * 1e6 / BATCH as f64)
    };
    // The first one dials, where that is to be done once.
    batch()?;
    let means = (0..session.pairs()).map(|_| batch());
    let means = means.collect::<anyhow::Result<Vec<f64>>>()?;
    Estimate::of_median(&means).context("too few batches")
}
