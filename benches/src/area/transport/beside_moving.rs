//! Small requests beside long bodies that are on their way on the same connection, and the same
//! with raw streams for both.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use macula_transport::contract::impairment::Impairment;

use super::beside_raw::raw_over;
use super::disturbed::body;
use crate::area::measured_once;
use crate::fixture::{EndpointPair, Ends};
use crate::load::Load;
use crate::paired::Pairs;
use crate::session::{Session, Traffic};

/// What is asked for beside what, and over what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    /// What is between the two ends; both sides are given the same.
    pub(super) impairment: Option<Impairment>,
    pub(super) small: Traffic,
    pub(super) long: Traffic,
    /// Length of a long body, there and back.
    pub(super) long_bytes: usize,
}

/// What each side made of both.
pub(super) struct Mixed {
    pub(super) small: Pairs<Load>,
    pub(super) long: Pairs<Load>,
}

/// Measured once for every figure that is read from it.
pub(super) fn on_loopback(session: &Session, mix: &Mix) -> anyhow::Result<&'static Mixed> {
    static MIXED: OnceLock<Mixed> = OnceLock::new();
    measured_once(&MIXED, || mixed(session, mix))
}

/// The same for another mix.
pub(super) fn on_a_line(session: &Session, mix: &Mix) -> anyhow::Result<&'static Mixed> {
    static MIXED: OnceLock<Mixed> = OnceLock::new();
    measured_once(&MIXED, || mixed(session, mix))
}

fn mixed(session: &Session, mix: &Mix) -> anyhow::Result<Mixed> {
    let pair = EndpointPair::start_over(Ends::Apart, mix.impairment);
    let pair = Arc::new(session.block_on(pair)?);
    let (raw, _path) = session.block_on(raw_over(mix.impairment))?;
    let raw = Arc::new(raw);
    let long_body = Bytes::from(vec![0x5a; mix.long_bytes]);
    let ours = |body: Bytes| {
        let pair = Arc::clone(&pair);
        move || {
            let (pair, body) = (Arc::clone(&pair), body.clone());
            async move { pair.request(body).await }
        }
    };
    let theirs = |body: Bytes| {
        let raw = Arc::clone(&raw);
        move || {
            let (raw, body) = (Arc::clone(&raw), body.clone());
            async move { raw.request(body).await }
        }
    };
    let run = session.paired(
        || {
            session.both(
                (mix.small, ours(body())),
                (mix.long, ours(long_body.clone())),
            )
        },
        || {
            session.both(
                (mix.small, theirs(body())),
                (mix.long, theirs(long_body.clone())),
            )
        },
    )?;
    Ok(Mixed {
        small: run.of(|(small, _)| small.clone()),
        long: run.of(|(_, long)| long.clone()),
    })
}
