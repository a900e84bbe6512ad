//! Calls of a node's own function, beside a call of a plain one.

use std::sync::OnceLock;

use macula_rpc::Runs;
use tokio::time::Instant;

use super::warm::body;
use crate::area::measured_once;
use crate::figure::Unit;
use crate::fixture::LocalService;
use crate::measurement::{Clock, Measurement};
use crate::paired::Pairs;
use crate::session::Session;
use crate::statistics::Goal;

pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement::ratio(
        "local call of 64 bytes, inline: time over a dynamic function call with the codec's work",
        Goal::AtMost(10.0),
        |session| nanos(session)?.ratio(),
    ),
    Measurement {
        name: "the same: time of the local call",
        unit: Unit::Nanos,
        goal: Goal::None,
        clock: Clock::Real,
        run: |session| nanos(session)?.ours(|nanos| *nanos),
    },
];

/// Calls per side of a pair.
const CALLS: u32 = 50_000;

/// Nanoseconds of each, one after another on one thread; measured once.
fn nanos(session: &Session) -> anyhow::Result<&'static Pairs> {
    static NANOS: OnceLock<Pairs> = OnceLock::new();
    measured_once(&NANOS, || {
        let session = session.on_one_thread()?;
        let local = session.block_on(LocalService::start(Runs::Inline))?;
        session.paired(
            || session.block_on(of_local_calls(&local)),
            || of_function_calls(&local),
        )
    })
}

async fn of_local_calls(local: &LocalService) -> anyhow::Result<f64> {
    let started = Instant::now();
    for _ in 0..CALLS {
        local.call(body()).await?;
    }
    Ok(nanos_per_call(started))
}

fn of_function_calls(local: &LocalService) -> anyhow::Result<f64> {
    let started = Instant::now();
    for _ in 0..CALLS {
        local.call_function(&body())?;
    }
    Ok(nanos_per_call(started))
}

fn nanos_per_call(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}
