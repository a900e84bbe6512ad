//! How lookups grow with the network.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::simulated;
use crate::figure::Unit;
use crate::measurement::{Clock, Measurement};
use crate::part::Cost;
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

/// One row for each number that is looked at, for each size of network.
macro_rules! rows {
    ($($nodes:literal),*) => {
        &[$(
            row(
                concat!("exhaustive lookup among ", $nodes, " nodes: hops, 95 %"),
                Unit::Count,
                |_| grown($nodes, |cost| cost.exhaustive.hops_p95),
            ),
            row(
                concat!("exhaustive lookup among ", $nodes, " nodes: requests, mean"),
                Unit::Count,
                |_| grown($nodes, |cost| cost.exhaustive.requests),
            ),
            row(
                concat!("exhaustive lookup among ", $nodes, " nodes: latency, median"),
                Unit::Millis,
                |_| grown($nodes, |cost| cost.exhaustive.millis),
            ),
            row(
                concat!("exhaustive lookup among ", $nodes, " nodes: processor time, simulator's too"),
                Unit::Micros,
                |_| grown($nodes, |cost| cost.exhaustive.cpu_us),
            ),
            row(
                concat!("find of three providers among ", $nodes, " nodes: requests, mean"),
                Unit::Count,
                |_| grown($nodes, |cost| cost.find.requests),
            ),
            row(
                concat!("find of three providers among ", $nodes, " nodes: latency, median"),
                Unit::Millis,
                |_| grown($nodes, |cost| cost.find.millis),
            ),
        )*]
    };
}

/// In every session.
pub(super) const SMALL: &[Measurement] = rows!(100, 300, 1_000, 5_000);

/// In a full session only.
pub(super) const LARGE: &[Measurement] = rows!(20_000, 100_000);

const fn row(
    name: &'static str,
    unit: Unit,
    run: fn(&Session) -> anyhow::Result<Estimate>,
) -> Measurement {
    Measurement {
        name,
        unit,
        goal: Goal::None,
        clock: Clock::Real,
        run,
    }
}

/// A number of one network, which is simulated once.
fn grown(nodes: usize, figure: impl Fn(&Cost) -> f64) -> anyhow::Result<Estimate> {
    static COSTS: Mutex<BTreeMap<usize, Cost>> = Mutex::new(BTreeMap::new());
    let mut costs = COSTS.lock().unwrap_or_else(PoisonError::into_inner);
    let cost = match costs.get(&nodes) {
        Some(cost) => *cost,
        None => {
            let cost = simulated::cost(nodes, 1)?;
            costs.insert(nodes, cost);
            cost
        }
    };
    Ok(Estimate::exact(figure(&cost)))
}
