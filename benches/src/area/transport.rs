//! Warm requests over QUIC, beside one s2n-quic stream per request.

use std::sync::Arc;

use bytes::Bytes;

use crate::figure::Unit;
use crate::fixture::EndpointPair;
use crate::load::Load;
use crate::measurement::{Clock, Measurement};
use crate::raw_quic::RawQuic;
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

/// What is measured of macula-transport.
pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "warm requests of 64 bytes, 64 in flight: rate over a raw stream per request",
        unit: Unit::Ratio,
        goal: Goal::AtLeast(3.0),
        clock: Clock::Real,
        run: rate_at_64,
    },
    Measurement {
        name: "warm requests of 64 bytes, 1 in flight: p50 over a raw stream per request",
        unit: Unit::Ratio,
        goal: Goal::AtMost(1.2),
        clock: Clock::Real,
        run: median_at_1,
    },
];

/// Bytes of every request and its reply.
pub(super) const BODY_BYTES: usize = 64;

fn rate_at_64(session: &Session) -> anyhow::Result<Estimate> {
    beside_raw(session, 64, Load::rate)
}

fn median_at_1(session: &Session) -> anyhow::Result<Estimate> {
    beside_raw(session, 1, Load::median_us)
}

fn beside_raw(
    session: &Session,
    in_flight: usize,
    figure: fn(&Load) -> f64,
) -> anyhow::Result<Estimate> {
    let pair = Arc::new(session.block_on(EndpointPair::start())?);
    let raw = Arc::new(session.block_on(RawQuic::start())?);
    let body = Bytes::from(vec![0x5a; BODY_BYTES]);
    let raw_body = body.clone();
    let request = move || {
        let (pair, body) = (pair.clone(), body.clone());
        async move { pair.request(body).await }
    };
    let raw_request = move || {
        let (raw, body) = (raw.clone(), raw_body.clone());
        async move { raw.request(body).await }
    };
    session
        .paired(
            || Ok(figure(&session.load(in_flight, request.clone())?)),
            || Ok(figure(&session.load(in_flight, raw_request.clone())?)),
        )?
        .ratio()
}
