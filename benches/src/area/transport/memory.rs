//! What idle connections keep allocated, in a process that holds one end of them and does nothing
//! else.

use std::sync::OnceLock;

use crate::paired::Pairs;
use crate::part::{Crowd, Held, Holder};
use crate::raw_quic::{Congestion, RawServer};
use crate::session::Session;
use crate::statistics::Estimate;

/// Connections that are held.
const CONNECTIONS: u16 = 1000;

/// What an endpoint may need for a connection beyond its share of what s2n-quic needs.
const ALLOWED_BYTES: f64 = 8.0 * 1024.0;

/// Pairs of processes: the fewest that an interval of 90 % can be had from.
const PAIRS: usize = 5;

pub(super) fn memory_per_connection(session: &Session) -> anyhow::Result<Estimate> {
    held(session)?.ratio_of(|(held, allowed)| held.bytes_per_connection - allowed)
}

pub(super) fn connections_held(session: &Session) -> anyhow::Result<Estimate> {
    held(session)?.ours(|(held, _)| held.connections)
}

/// What each side holds, and what it may have beside; measured once.
fn held(session: &Session) -> anyhow::Result<&'static Pairs<(Held, f64)>> {
    static HELD: OnceLock<Pairs<(Held, f64)>> = OnceLock::new();
    if let Some(held) = HELD.get() {
        return Ok(held);
    }
    let mut crowd = Crowd::start(CONNECTIONS)?;
    let peers = crowd.addresses().to_vec();
    let server = session.block_on(async { RawServer::start(Congestion::Cubic) })?;
    let servers = vec![server.address(); CONNECTIONS.into()];
    let held = Pairs::run(
        PAIRS,
        || {
            crowd.dispersed()?;
            Ok((Held::by(Holder::Endpoint, &peers)?, ALLOWED_BYTES))
        },
        || Ok((Held::by(Holder::Raw, &servers)?, 0.0)),
    )?;
    Ok(HELD.get_or_init(|| held))
}
