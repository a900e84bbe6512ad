//! Requests while others misbehave, beside the same requests when all is quiet.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;

use super::BODY_BYTES;
use super::beside_raw::echoes;
use crate::fixture::{EndpointPair, Flooder, PairBesideBulk, take_first};
use crate::load::Load;
use crate::part::Crowd;
use crate::session::{Session, Traffic};
use crate::statistics::Estimate;

/// As many peers as are dialled at once.
const CROWD: u16 = 1000;

/// Requests that wait for nobody, so that a stall is felt by all that it holds up.
const STEADY: Traffic = Traffic::open(2000.0).for_slices(6);

/// A connection whose other streams nobody reads, beside one without them.
pub(super) fn beside_bulk(session: &Session) -> anyhow::Result<Estimate> {
    let beside = session.block_on(PairBesideBulk::start())?;
    let alone = Arc::new(session.block_on(EndpointPair::start())?);
    let traffic = Traffic::closed(64);
    session
        .paired(
            || Ok(echoes(session, beside.pair(), traffic, &body())?.rate()),
            || Ok(echoes(session, &alone, traffic, &body())?.rate()),
        )?
        .ratio()
}

/// A node that is flooded by one peer and asked by another.
///
/// It has a processor that the flooder keeps off, and who asks lives on the thread of the node that
/// does: so little of what is measured is the trouble of three nodes with two processors.
pub(super) fn flood(session: &Session) -> anyhow::Result<Estimate> {
    let pair = Arc::new(session.block_on(EndpointPair::start())?);
    session.block_on(pair.echo().runtime().spawn(async { take_first() }))??;
    let flooder = Flooder::start(pair.contact().clone());
    let mut flooder = session.block_on(flooder)?;
    let flooded = || {
        session.block_on(flooder.flood(true))?;
        let load = echoes_on_its_thread(session, &pair)?;
        session.block_on(flooder.flood(false))?;
        Ok(p99_us(&load))
    };
    let quiet = || Ok(p99_us(&echoes_on_its_thread(session, &pair)?));
    session.paired(flooded, quiet)?.ratio()
}

/// A node that calls a peer and dials a crowd.
pub(super) fn burst(session: &Session) -> anyhow::Result<Estimate> {
    let mut crowd = Crowd::start(CROWD)?;
    let dialling = || {
        // A new node every time: the last one knows the crowd.
        let pair = Arc::new(session.block_on(EndpointPair::start())?);
        let dials = session.spawn(crowd.dialled_by(pair.caller()));
        let load = echoes(session, &pair, STEADY, &body())?;
        session
            .block_on(dials)
            .context("the dialling broke down")??;
        drop(pair);
        crowd.dispersed()?;
        Ok(p99_us(&load))
    };
    let quiet = || {
        let pair = Arc::new(session.block_on(EndpointPair::start())?);
        Ok(p99_us(&echoes(session, &pair, STEADY, &body())?))
    };
    session.paired(dialling, quiet)?.ratio()
}

fn echoes_on_its_thread(session: &Session, pair: &Arc<EndpointPair>) -> anyhow::Result<Load> {
    let asked = Arc::clone(pair);
    let request = move || {
        let asked = Arc::clone(&asked);
        async move { asked.request(body()).await }
    };
    session.traffic_on(pair.caller().runtime(), STEADY, request)
}

fn p99_us(load: &Load) -> f64 {
    load.quantile_us(0.99)
}

fn body() -> Bytes {
    const BODY: [u8; BODY_BYTES] = [0x5a; BODY_BYTES];
    Bytes::from_static(&BODY)
}
