//! Our requests, beside those of s2n-quic with a stream for each: over the same path, in datagrams
//! as long.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use macula_transport::contract::impairment::Impairment;

use crate::fixture::{EndpointPair, Ends, Path};
use crate::load::Load;
use crate::paired::Pairs;
use crate::raw_quic::{Congestion, RawQuic, RawServer};
use crate::session::{Session, Traffic};

/// What is asked for, where, and over what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Where the endpoints live. Among the callers everything shares one thread, raw too.
    pub(super) ends: Ends,
    /// What is between the two ends; both sides are given the same.
    pub(super) impairment: Option<Impairment>,
    /// Length of the body, there and back.
    pub(super) body_bytes: usize,
    pub(super) traffic: Traffic,
}

impl Case {
    pub(super) const fn in_flight(self, in_flight: usize) -> Self {
        let traffic = Traffic::closed(in_flight);
        Self { traffic, ..self }
    }

    pub(super) const fn with_ends(self, ends: Ends) -> Self {
        Self { ends, ..self }
    }

    pub(super) const fn of(self, body_bytes: usize) -> Self {
        Self { body_bytes, ..self }
    }
}

/// Runs both sides in turn.
pub(super) fn beside_raw(session: &Session, case: &Case) -> anyhow::Result<Pairs<Load>> {
    let one_thread;
    let session = match case.ends {
        Ends::Apart | Ends::Together => session,
        Ends::AmongCallers => {
            one_thread = session.on_one_thread()?;
            &one_thread
        }
    };
    let pair = EndpointPair::start_over(case.ends, case.impairment);
    let pair = Arc::new(session.block_on(pair)?);
    let (raw, _path) = session.block_on(raw_over(case.impairment))?;
    let raw = Arc::new(raw);
    let body = Bytes::from(vec![0x5a; case.body_bytes]);
    let raw_body = body.clone();
    let raw_request = move || {
        let (raw, body) = (Arc::clone(&raw), raw_body.clone());
        async move { raw.request(body).await }
    };
    session.paired(
        || echoes(session, &pair, case.traffic, &body),
        || session.traffic(case.traffic, raw_request.clone()),
    )
}

/// The same, measured once for every figure that is read from it.
pub(super) fn lossy(session: &Session, case: &Case) -> anyhow::Result<&'static Pairs<Load>> {
    static LOADS: OnceLock<Pairs<Load>> = OnceLock::new();
    if let Some(loads) = LOADS.get() {
        return Ok(loads);
    }
    let loads = beside_raw(session, case)?;
    Ok(LOADS.get_or_init(|| loads))
}

/// Requests from one end of a pair to the other.
pub(super) fn echoes(
    session: &Session,
    pair: &Arc<EndpointPair>,
    traffic: Traffic,
    body: &Bytes,
) -> anyhow::Result<Load> {
    let (pair, body) = (Arc::clone(pair), body.clone());
    session.traffic(traffic, move || {
        let (pair, body) = (Arc::clone(&pair), body.clone());
        async move { pair.request(body).await }
    })
}

/// Over a bad path with the congestion controller that ours has; otherwise as s2n-quic comes.
pub(super) async fn raw_over(
    impairment: Option<Impairment>,
) -> anyhow::Result<(RawQuic, Option<Path>)> {
    let Some(impairment) = impairment else {
        return Ok((RawQuic::start().await?, None));
    };
    let server = RawServer::start(Congestion::Bbr)?;
    let path = Path::open(server.address(), impairment).await?;
    let raw = RawQuic::connect(path.address(), Congestion::Bbr).await?;
    Ok((raw, Some(path)))
}
