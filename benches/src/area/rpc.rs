//! Warm calls through everything, beside bare requests and beside one s2n-quic stream per request.

use std::sync::Arc;

use bytes::Bytes;
use macula_rpc::Runs;

use super::transport::BODY_BYTES;
use crate::figure::Unit;
use crate::fixture::{ClientPair, ServicePair};
use crate::load::Load;
use crate::measurement::{Clock, Measurement};
use crate::paired::Pairs;
use crate::raw_quic::RawQuic;
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

/// What is measured of macula-rpc. Handlers are spawned, each call in a task of its own, where it
/// is not said that they are inline.
pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "warm unary calls of 64 bytes, 64 in flight: rate over a raw stream per request",
        unit: Unit::Ratio,
        goal: Goal::AtLeast(2.0),
        clock: Clock::Real,
        run: rate_over_raw,
    },
    Measurement {
        name: "warm unary calls of 64 bytes, 64 in flight, inline: rate over a raw stream per request",
        unit: Unit::Ratio,
        goal: Goal::AtLeast(2.7),
        clock: Clock::Real,
        run: inline_rate_over_raw,
    },
    Measurement {
        name: "warm unary calls of 64 bytes, 1 in flight: p50 over a bare request",
        unit: Unit::Ratio,
        goal: Goal::AtMost(1.1),
        clock: Clock::Real,
        run: median_over_request,
    },
    Measurement {
        name: "warm unary calls of 64 bytes, 64 in flight: CPU added to a bare request",
        unit: Unit::Micros,
        goal: Goal::AtMost(1.5),
        clock: Clock::Real,
        run: added_cpu,
    },
    Measurement {
        name: "client.call, typed, 64 bytes, 64 in flight: rate over a raw stream per request",
        unit: Unit::Ratio,
        goal: Goal::AtLeast(2.0),
        clock: Clock::Real,
        run: client_rate_over_raw,
    },
];

fn rate_over_raw(session: &Session) -> anyhow::Result<Estimate> {
    service_over_raw(session, Runs::Spawned)
}

fn inline_rate_over_raw(session: &Session) -> anyhow::Result<Estimate> {
    service_over_raw(session, Runs::Inline)
}

fn service_over_raw(session: &Session, runs: Runs) -> anyhow::Result<Estimate> {
    let pair = Arc::new(session.block_on(ServicePair::start(runs))?);
    let call = move || {
        let pair = pair.clone();
        async move { pair.call(body()).await }
    };
    over_raw(session, call)
}

fn client_rate_over_raw(session: &Session) -> anyhow::Result<Estimate> {
    let pair = Arc::new(session.block_on(ClientPair::start())?);
    let call = move || {
        let pair = pair.clone();
        async move { pair.call(body()).await }
    };
    over_raw(session, call)
}

fn over_raw<F, Fut>(session: &Session, call: F) -> anyhow::Result<Estimate>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let raw = Arc::new(session.block_on(RawQuic::start())?);
    let request = move || {
        let raw = raw.clone();
        async move { raw.request(body()).await }
    };
    session
        .paired(
            || Ok(session.load(64, call.clone())?.rate()),
            || Ok(session.load(64, request.clone())?.rate()),
        )?
        .ratio()
}

fn median_over_request(session: &Session) -> anyhow::Result<Estimate> {
    beside_request(session, 1, Load::median_us)?.ratio()
}

fn added_cpu(session: &Session) -> anyhow::Result<Estimate> {
    beside_request(session, 64, Load::cpu_us)?.difference()
}

fn beside_request(
    session: &Session,
    in_flight: usize,
    figure: fn(&Load) -> f64,
) -> anyhow::Result<Pairs> {
    let pair = Arc::new(session.block_on(ServicePair::start(Runs::Spawned))?);
    let of_call = pair.clone();
    let call = move || {
        let pair = of_call.clone();
        async move { pair.call(body()).await }
    };
    let request = move || {
        let pair = pair.clone();
        async move { pair.request(body()).await }
    };
    session.paired(
        || Ok(figure(&session.load(in_flight, call.clone())?)),
        || Ok(figure(&session.load(in_flight, request.clone())?)),
    )
}

fn body() -> Bytes {
    const BODY: [u8; BODY_BYTES] = [0x5a; BODY_BYTES];
    Bytes::from_static(&BODY)
}
