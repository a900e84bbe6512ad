//! Requests while others misbehave, beside the same requests when all is quiet.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::BODY_BYTES;
use super::beside_raw::echoes;
use crate::fixture::{EndpointPair, Flooder, PairBesideBulk, take_first};
use crate::load::Load;
use crate::part::Crowd;
use crate::session::{Session, Traffic};
use crate::statistics::Estimate;

/// As many peers as are dialled at once.
const CROWD: u16 = 1000;

/// Requests a second that wait for nobody, so that a stall is felt by all that it holds up.
const STEADY: f64 = 2000.0;

/// How long they come before the sides change: what else happens on the machine then hits both.
const SHORT: Traffic = Traffic::open(STEADY).for_slices(2);

/// So many times the usual number of turns.
const OFTEN: usize = 4;

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
        Ok(load)
    };
    let quiet = || echoes_on_its_thread(session, &pair);
    session
        .paired_often(OFTEN, flooded, quiet)?
        .pooled_ratio(0.99)
}

/// A node that calls a peer and dials a crowd. Only calls count that begin before the last dial has
/// ended; as long without dials is what they are compared with.
pub(super) fn burst(session: &Session) -> anyhow::Result<Estimate> {
    let mut crowd = Crowd::start(CROWD)?;
    let took = Cell::new(Duration::ZERO);
    let dialling = || {
        // A new node every time: the last one knows the crowd.
        let pair = Arc::new(session.block_on(EndpointPair::start())?);
        let dials = session.spawn(crowd.dialled_by(pair.caller()));
        let started = Instant::now();
        let dials = async {
            let dialled = dials.await.context("the dialling broke down");
            took.set(started.elapsed());
            dialled?
        };
        let (dialled, load) = echoes_while(session, &pair, dials)?;
        dialled?;
        drop(pair);
        crowd.dispersed()?;
        Ok(load)
    };
    let quiet = || {
        let pair = Arc::new(session.block_on(EndpointPair::start())?);
        let as_long = async { sleep(took.get()).await };
        let ((), load) = echoes_while(session, &pair, as_long)?;
        Ok(load)
    };
    session.paired(dialling, quiet)?.pooled_ratio(0.99)
}

fn echoes_while<T>(
    session: &Session,
    pair: &Arc<EndpointPair>,
    work: impl Future<Output = T>,
) -> anyhow::Result<(T, Load)> {
    session.traffic_while(STEADY, work, || {
        let pair = Arc::clone(pair);
        async move { pair.request(body()).await }
    })
}

fn echoes_on_its_thread(session: &Session, pair: &Arc<EndpointPair>) -> anyhow::Result<Load> {
    let asked = Arc::clone(pair);
    let request = move || {
        let asked = Arc::clone(&asked);
        async move { asked.request(body()).await }
    };
    session.traffic_on(pair.caller().runtime(), SHORT, request)
}

/// What small requests carry.
pub(super) fn body() -> Bytes {
    const BODY: [u8; BODY_BYTES] = [0x5a; BODY_BYTES];
    Bytes::from_static(&BODY)
}
