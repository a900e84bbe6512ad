//! Whom calls go to when one provider is slow, or turns them away: simulations in virtual time, of
//! real callers and servers over the in-memory network.

use crate::figure::Unit;
use crate::fixture::Strategy;
use crate::measurement::{Clock, Measurement};
use crate::statistics::Goal;

mod overloaded;
mod slow;

pub use overloaded::{Counted, OneOverloaded};
pub use slow::OneSlow;

pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "one of ten providers 20 times slower, LeastLatency: p99 over that of ten healthy ones",
        unit: Unit::Ratio,
        goal: Goal::AtMost(3.0),
        clock: Clock::Virtual,
        run: |session| slow::over_healthy(session, Strategy::LeastLatency),
    },
    Measurement {
        name: "the same, RoundRobin, which has to suffer: p99 over that of ten healthy ones",
        unit: Unit::Ratio,
        goal: Goal::AtLeast(20.0),
        clock: Clock::Virtual,
        run: |session| slow::over_healthy(session, Strategy::RoundRobin),
    },
    Measurement {
        name: "one of five providers answers Overloaded at once: share of first attempts it gets",
        unit: Unit::Share,
        goal: Goal::AtMost(0.05),
        clock: Clock::Virtual,
        run: overloaded::share_of_first_attempts,
    },
    Measurement {
        name: "one of five providers answers Overloaded at once: share of calls that succeed",
        unit: Unit::Share,
        goal: Goal::AtLeast(0.999),
        clock: Clock::Virtual,
        run: overloaded::share_of_successes,
    },
];
