//! What the number of lanes and the longest body on them are chosen by: the same requests with other
//! settings.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use macula_transport::EndpointConfig;
use macula_transport::contract::impairment::Impairment;

use super::disturbed::body;
use super::{KIB, LOSSY};
use crate::figure::Unit;
use crate::fixture::{EndpointPair, Ends};
use crate::load::Load;
use crate::measurement::{Clock, Measurement};
use crate::paired::Pairs;
use crate::session::{Session, Traffic};
use crate::statistics::{Estimate, Goal};

pub(super) const LONG: &[Measurement] = &[
    reported(
        "20 ms round trip, 1 % loss each way, 2000 a second, 1 lane: p95 over that of 16",
        |session| with_lanes(session, 1),
    ),
    reported("the same with 2 lanes", |session| with_lanes(session, 2)),
    reported("the same with 4 lanes", |session| with_lanes(session, 4)),
    reported("the same with 8 lanes", |session| with_lanes(session, 8)),
    reported(
        "bodies of 32 KiB, 16 in flight, on lanes: rate over on streams of their own",
        |session| rate_on_lanes(session, 32 * KIB),
    ),
    reported("the same with bodies of 64 KiB", |session| {
        rate_on_lanes(session, 64 * KIB)
    }),
    reported("the same with bodies of 128 KiB", |session| {
        rate_on_lanes(session, 128 * KIB)
    }),
    reported(
        "20 ms, 1 % loss, small ones beside 32 KiB on lanes: p95 over beside streams of their own",
        |session| small_beside_lanes(session, 32 * KIB),
    ),
    reported("the same with bodies of 64 KiB", |session| {
        small_beside_lanes(session, 64 * KIB)
    }),
    reported("the same with bodies of 128 KiB", |session| {
        small_beside_lanes(session, 128 * KIB)
    }),
];

const fn reported(
    name: &'static str,
    run: fn(&Session) -> anyhow::Result<Estimate>,
) -> Measurement {
    Measurement {
        name,
        unit: Unit::Ratio,
        goal: Goal::None,
        clock: Clock::Real,
        run,
    }
}

type Answered = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Pairs of each: these rows explain a choice and judge nothing.
const PAIRS: usize = 9;

/// Bodies that come beside small requests, so many a second.
const BODIES: Traffic = Traffic::open(50.0).for_slices(2);

const SMALL: Traffic = Traffic::open(1000.0).for_slices(2);

fn with_lanes(session: &Session, lanes: usize) -> anyhow::Result<Estimate> {
    let max_lanes = NonZeroUsize::new(lanes).unwrap_or(NonZeroUsize::MIN);
    let few = EndpointConfig {
        max_lanes,
        ..EndpointConfig::default()
    };
    let (few, usual) = both(session, LOSSY.impairment, few, EndpointConfig::default())?;
    let run = |pair: &Arc<EndpointPair>| session.traffic(SMALL, requests(pair, body()));
    Pairs::run(PAIRS, || run(&few), || run(&usual))?.pooled_ratio(0.95)
}

fn rate_on_lanes(session: &Session, len_bytes: usize) -> anyhow::Result<Estimate> {
    let (on_lanes, alone) = on_lanes_and_alone(session, None, len_bytes)?;
    let body = Bytes::from(vec![0x5a; len_bytes]);
    let run = |pair: &Arc<EndpointPair>| session.load(16, requests(pair, body.clone()));
    Pairs::run(PAIRS, || run(&on_lanes), || run(&alone))?.ratio_of(Load::rate)
}

fn small_beside_lanes(session: &Session, len_bytes: usize) -> anyhow::Result<Estimate> {
    let (on_lanes, alone) = on_lanes_and_alone(session, LOSSY.impairment, len_bytes)?;
    let long_body = Bytes::from(vec![0x5a; len_bytes]);
    let run = |pair: &Arc<EndpointPair>| {
        let small = (SMALL, requests(pair, body()));
        let (small, _) = session.both(small, (BODIES, requests(pair, long_body.clone())))?;
        Ok(small)
    };
    Pairs::run(PAIRS, || run(&on_lanes), || run(&alone))?.pooled_ratio(0.95)
}

/// A pair that sends bodies of a length on lanes, and one that does not.
fn on_lanes_and_alone(
    session: &Session,
    impairment: Option<Impairment>,
    len_bytes: usize,
) -> anyhow::Result<(Arc<EndpointPair>, Arc<EndpointPair>)> {
    let up_to = |max_lane_body_bytes| EndpointConfig {
        max_lane_body_bytes,
        ..EndpointConfig::default()
    };
    both(session, impairment, up_to(len_bytes), up_to(len_bytes - 1))
}

fn both(
    session: &Session,
    impairment: Option<Impairment>,
    one: EndpointConfig,
    other: EndpointConfig,
) -> anyhow::Result<(Arc<EndpointPair>, Arc<EndpointPair>)> {
    let start = |config| {
        let pair = EndpointPair::start_with(Ends::Apart, impairment, config);
        session.block_on(pair).map(Arc::new)
    };
    Ok((start(one)?, start(other)?))
}

fn requests(
    pair: &Arc<EndpointPair>,
    body: Bytes,
) -> impl Fn() -> Answered + Clone + Send + Sync + use<> {
    let pair = Arc::clone(pair);
    move || {
        let (pair, body) = (Arc::clone(&pair), body.clone());
        Box::pin(async move { pair.request(body).await })
    }
}
