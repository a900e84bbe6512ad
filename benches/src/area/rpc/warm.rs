//! Warm calls through everything, beside bare requests and beside one s2n-quic stream per request.
//!
//! A call and the bare request that it is compared with go over the same connection of the same two
//! endpoints, which share one thread of their own, from callers on the same runtime; and they are
//! answered at the same place: an inline handler beside an inline echo, a spawned one beside an echo
//! in a task of its own.

use std::sync::Arc;

use bytes::Bytes;
use macula_rpc::Runs;

use crate::area::transport::BODY_BYTES;
use crate::figure::Unit;
use crate::fixture::{ClientPair, Ends, ServicePair};
use crate::load::Load;
use crate::measurement::{Clock, Measurement};
use crate::paired::Pairs;
use crate::raw_quic::RawQuic;
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement::ratio(
        "warm unary calls of 64 bytes, 64 in flight, inline: rate over a raw stream per request",
        Goal::AtLeast(2.7),
        |session| calls_over_raw(session, Runs::Inline),
    ),
    Measurement::ratio(
        "warm unary calls of 64 bytes, 64 in flight, spawned: rate over a raw stream per request",
        Goal::AtLeast(2.0),
        |session| calls_over_raw(session, Runs::Spawned),
    ),
    Measurement::ratio(
        "bare requests between the same endpoints, inline: rate over a raw stream per request",
        Goal::None,
        |session| requests_over_raw(session, Runs::Inline),
    ),
    Measurement::ratio(
        "bare requests between the same endpoints, spawned: rate over a raw stream per request",
        Goal::None,
        |session| requests_over_raw(session, Runs::Spawned),
    ),
    Measurement::ratio(
        "warm unary calls of 64 bytes, 1 in flight, inline: p50 over a bare request",
        Goal::AtMost(1.1),
        |session| median_over_request(session, Runs::Inline),
    ),
    Measurement::ratio(
        "warm unary calls of 64 bytes, 1 in flight, spawned: p50 over a bare spawned request",
        Goal::AtMost(1.1),
        |session| median_over_request(session, Runs::Spawned),
    ),
    Measurement {
        name: "warm unary calls of 64 bytes, 64 in flight, inline: CPU added to a bare request",
        unit: Unit::Micros,
        goal: Goal::AtMost(1.5),
        clock: Clock::Real,
        run: |session| added_cpu(session, Runs::Inline),
    },
    Measurement {
        name: "warm unary calls of 64 bytes, 64 in flight, spawned: CPU added to a bare spawned one",
        unit: Unit::Micros,
        goal: Goal::AtMost(1.5),
        clock: Clock::Real,
        run: |session| added_cpu(session, Runs::Spawned),
    },
    Measurement::ratio(
        "client.call, typed, 64 bytes, 64 in flight, inline: rate over a raw stream per request",
        Goal::AtLeast(2.7),
        |session| client_over_raw(session, Runs::Inline),
    ),
    Measurement::ratio(
        "client.call, typed, 64 bytes, 64 in flight, spawned: rate over a raw stream per request",
        Goal::AtLeast(2.0),
        |session| client_over_raw(session, Runs::Spawned),
    ),
];

/// As many in flight as the transport's figures have.
const MANY: usize = 64;

fn calls_over_raw(session: &Session, runs: Runs) -> anyhow::Result<Estimate> {
    let pair = Arc::new(session.block_on(ServicePair::start(Ends::Together, runs))?);
    over_raw(session, || calls(session, &pair, MANY))
}

fn requests_over_raw(session: &Session, runs: Runs) -> anyhow::Result<Estimate> {
    let pair = Arc::new(session.block_on(ServicePair::start(Ends::Together, runs))?);
    over_raw(session, || requests(session, &pair, MANY))
}

fn client_over_raw(session: &Session, runs: Runs) -> anyhow::Result<Estimate> {
    let pair = Arc::new(session.block_on(ClientPair::start(runs))?);
    over_raw(session, || {
        let pair = Arc::clone(&pair);
        session.load(MANY, move || {
            let pair = Arc::clone(&pair);
            async move { pair.call(body()).await }
        })
    })
}

fn over_raw(
    session: &Session,
    ours: impl Fn() -> anyhow::Result<Load>,
) -> anyhow::Result<Estimate> {
    let raw = Arc::new(session.block_on(RawQuic::start())?);
    let request = move || {
        let raw = Arc::clone(&raw);
        async move { raw.request(body()).await }
    };
    session
        .paired(ours, || session.load(MANY, request.clone()))?
        .ratio_of(Load::rate)
}

fn median_over_request(session: &Session, runs: Runs) -> anyhow::Result<Estimate> {
    beside_request(session, (Ends::Together, runs), 1, Load::median_us)?.ratio()
}

/// Of both ends together, with everything on one thread: a thread of a node's own also uses time
/// while it looks whether there is more to do, the more the less there is.
fn added_cpu(session: &Session, runs: Runs) -> anyhow::Result<Estimate> {
    let session = session.on_one_thread()?;
    beside_request(&session, (Ends::AmongCallers, runs), MANY, Load::cpu_us)?.difference()
}

fn beside_request(
    session: &Session,
    (ends, runs): (Ends, Runs),
    in_flight: usize,
    figure: fn(&Load) -> f64,
) -> anyhow::Result<Pairs> {
    let pair = Arc::new(session.block_on(ServicePair::start(ends, runs))?);
    session.paired(
        || Ok(figure(&calls(session, &pair, in_flight)?)),
        || Ok(figure(&requests(session, &pair, in_flight)?)),
    )
}

fn calls(session: &Session, pair: &Arc<ServicePair>, in_flight: usize) -> anyhow::Result<Load> {
    let pair = Arc::clone(pair);
    session.load(in_flight, move || {
        let pair = Arc::clone(&pair);
        async move { pair.call(body()).await }
    })
}

fn requests(session: &Session, pair: &Arc<ServicePair>, in_flight: usize) -> anyhow::Result<Load> {
    let pair = Arc::clone(pair);
    session.load(in_flight, move || {
        let pair = Arc::clone(&pair);
        async move { pair.request(body()).await }
    })
}

/// What every request carries there and back.
pub(super) fn body() -> Bytes {
    const BODY: [u8; BODY_BYTES] = [0x5a; BODY_BYTES];
    Bytes::from_static(&BODY)
}
