//! What a warm request allocates at either end, beside its body.

use std::sync::OnceLock;

use crate::area::{counted_by, measured_once};
use crate::session::Session;
use crate::statistics::Estimate;

/// QUIC's own are among them, shared by the requests of a datagram.
pub(super) fn of_caller(_session: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(per_request()?[0]))
}

pub(super) fn of_server(_session: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(per_request()?[1]))
}

fn per_request() -> anyhow::Result<&'static [f64; 2]> {
    static COUNTED: OnceLock<[f64; 2]> = OnceLock::new();
    measured_once(&COUNTED, || {
        Ok(serde_json::from_str(&counted_by("request_allocations")?)?)
    })
}
