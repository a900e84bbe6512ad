//! Failover overhead: what calls at a steady rate notice when one of three providers, each a
//! process of its own, is killed or stopped.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;

use crate::area::measured_once;
use crate::figure::Unit;
use crate::measurement::{Clock, Measurement};
use crate::part::Harm;
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

mod accident;
mod aftermath;

pub use accident::Accident;
pub use aftermath::Aftermath;

pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "failover overhead, 1000 calls/s to 3 processes, one killed (kill -9): failed calls",
        run: |session| sum(session, Harm::Killed, |after| after.failed),
        ..COUNT
    },
    Measurement {
        name: "failover overhead, one of 3 killed: worst latency over attempt timeout and round trip",
        run: |session| worst_latency(session, Harm::Killed),
        ..WORST_LATENCY
    },
    Measurement {
        name: "failover overhead, one of 3 killed: attempts at it after the liveness bound",
        run: |session| sum(session, Harm::Killed, |after| after.late_attempts),
        ..COUNT
    },
    Measurement {
        name: "failover overhead, one of 3 killed: calls that it delayed, in a run",
        run: |session| most(session, Harm::Killed, |after| after.delayed),
        ..REPORTED_COUNT
    },
    Measurement {
        name: "failover overhead, one of 3 killed: p99 of the calls after over that before",
        run: |session| p99_over_before(session, Harm::Killed),
        ..REPORTED_RATIO
    },
    Measurement {
        name: "failover overhead, 1000 calls/s to 3 processes, one black-holed (SIGSTOP): failed calls",
        run: |session| sum(session, Harm::Stopped, |after| after.failed),
        ..COUNT
    },
    Measurement {
        name: "failover overhead, one of 3 black-holed: worst latency over attempt timeout and round trip",
        run: |session| worst_latency(session, Harm::Stopped),
        ..WORST_LATENCY
    },
    Measurement {
        name: "failover overhead, one of 3 black-holed: attempts at it after the liveness bound",
        run: |session| sum(session, Harm::Stopped, |after| after.late_attempts),
        ..COUNT
    },
    Measurement {
        name: "failover overhead, one of 3 black-holed: calls that it delayed, in a run",
        run: |session| most(session, Harm::Stopped, |after| after.delayed),
        ..REPORTED_COUNT
    },
    Measurement {
        name: "failover overhead, one of 3 black-holed: p99 of the calls after over that before",
        run: |session| p99_over_before(session, Harm::Stopped),
        ..REPORTED_RATIO
    },
];

/// What must not happen.
const COUNT: Measurement = Measurement {
    unit: Unit::Count,
    goal: Goal::AtMost(0.0),
    ..REPORTED_RATIO
};

const REPORTED_COUNT: Measurement = Measurement {
    goal: Goal::None,
    ..COUNT
};

const WORST_LATENCY: Measurement = Measurement {
    goal: Goal::AtMost(1.0),
    ..REPORTED_RATIO
};

const REPORTED_RATIO: Measurement = Measurement {
    name: "",
    unit: Unit::Ratio,
    goal: Goal::None,
    clock: Clock::Real,
    run: |_| anyhow::bail!("nothing to measure"),
};

/// In all runs together.
fn sum(session: &Session, harm: Harm, count: fn(&Aftermath) -> u32) -> anyhow::Result<Estimate> {
    let sum: u32 = aftermaths(session, harm)?.iter().map(count).sum();
    Ok(Estimate::exact(f64::from(sum)))
}

fn most(session: &Session, harm: Harm, count: fn(&Aftermath) -> u32) -> anyhow::Result<Estimate> {
    let most = aftermaths(session, harm)?.iter().map(count).max();
    Ok(Estimate::exact(most.context("no runs")?.into()))
}

/// In the worst run.
fn worst_latency(session: &Session, harm: Harm) -> anyhow::Result<Estimate> {
    worst(session, harm, |after| {
        after.worst.as_secs_f64() / (after.attempt_timeout + after.round_trip).as_secs_f64()
    })
}

fn p99_over_before(session: &Session, harm: Harm) -> anyhow::Result<Estimate> {
    worst(session, harm, |after| {
        after.p99_after.as_secs_f64() / after.p99_before.as_secs_f64()
    })
}

fn worst(session: &Session, harm: Harm, figure: fn(&Aftermath) -> f64) -> anyhow::Result<Estimate> {
    let of_runs = aftermaths(session, harm)?.iter().map(figure);
    let worst = of_runs.reduce(f64::max);
    worst.map(Estimate::exact).context("no runs")
}

/// What several runs came to, measured once.
fn aftermaths(session: &Session, harm: Harm) -> anyhow::Result<&'static Vec<Aftermath>> {
    static KILLED: OnceLock<Vec<Aftermath>> = OnceLock::new();
    static STOPPED: OnceLock<Vec<Aftermath>> = OnceLock::new();
    let cell = match harm {
        Harm::Killed => &KILLED,
        Harm::Stopped => &STOPPED,
    };
    let program = std::env::current_exe()?;
    let after = if session.is_full() {
        LONG
    } else {
        ACCIDENT.after
    };
    let accident = Accident {
        harm,
        after,
        ..ACCIDENT
    };
    measured_once(cell, || {
        let runs = (0..RUNS).map(|_| accident.happen(session, &program));
        runs.collect()
    })
}

const RUNS: usize = 3;

/// Until what callers know of the providers has been refreshed as well.
const LONG: Duration = Duration::from_secs(80);

/// Calls as they are made by default. It is looked on until the breaker of who was harmed has had
/// its first pauses, beyond the liveness bound.
const ACCIDENT: Accident = Accident {
    harm: Harm::Killed,
    per_second: 1000.0,
    before: Duration::from_secs(2),
    after: Duration::from_secs(10),
    timeout: macula_rpc::DEFAULT_CALL_TIMEOUT,
    max_attempts: macula_rpc::DEFAULT_MAX_ATTEMPTS,
};
