//! Lookups: what they cost among simulated machines and among real nodes, and the routing table
//! beside a plain sort.

mod growth;
mod simulated;
mod stack;
mod table;

use crate::figure::Unit;
use crate::measurement::{Clock, Measurement};
use crate::statistics::Goal;

/// What is measured of macula-dht.
pub(super) const MEASUREMENTS: &[&[Measurement]] = &[WITH_GOALS, growth::SMALL];

/// What is measured as well when there is time.
pub(super) const LONG: &[&[Measurement]] = &[growth::LARGE];

const WITH_GOALS: &[Measurement] = &[
    Measurement {
        name: "the 20 closest of 260 contacts: time over sorting them all",
        unit: Unit::Ratio,
        goal: Goal::AtMost(0.1),
        clock: Clock::Real,
        run: table::closest,
    },
    Measurement {
        name: "the same: time",
        unit: Unit::Nanos,
        goal: Goal::AtMost(400.0),
        clock: Clock::Real,
        run: table::closest_nanos,
    },
    Measurement {
        name: "the same as an answer to a peer: time over sorting and copying",
        unit: Unit::Ratio,
        goal: Goal::AtMost(0.2),
        clock: Clock::Real,
        run: table::answer,
    },
    Measurement {
        name: "find of one provider among 32 nodes, p50 over that of a bare request",
        unit: Unit::Ratio,
        goal: Goal::AtMost(10.0),
        clock: Clock::Real,
        run: stack::find_latency,
    },
    Measurement {
        name: "exhaustive lookup among 256 nodes over QUIC: processor time of all together",
        unit: Unit::Micros,
        goal: Goal::AtMost(10_000.0),
        clock: Clock::Real,
        run: stack::lookup_cpu_over_quic,
    },
    Measurement {
        name: "exhaustive lookup among 256 nodes over QUIC, dials included: processor time",
        unit: Unit::Micros,
        goal: Goal::AtMost(87_000.0),
        clock: Clock::Real,
        run: stack::cold_lookup_cpu_over_quic,
    },
    Measurement {
        name: "memory of a machine that knows nobody yet",
        unit: Unit::Bytes,
        goal: Goal::AtMost(8192.0),
        clock: Clock::Real,
        run: simulated::memory_of_one,
    },
    Measurement {
        name: "processor time of an exhaustive lookup among 1000 machines, simulator's too",
        unit: Unit::Micros,
        goal: Goal::AtMost(500.0),
        clock: Clock::Real,
        run: simulated::lookup_cpu,
    },
    Measurement {
        name: "requests of an exhaustive lookup among 1000 nodes: mean",
        unit: Unit::Count,
        goal: Goal::AtMost(25.0),
        clock: Clock::Real,
        run: simulated::exhaustive_requests,
    },
    Measurement {
        name: "requests of an exhaustive lookup among 1000 nodes: 95 %",
        unit: Unit::Count,
        goal: Goal::AtMost(32.0),
        clock: Clock::Real,
        run: simulated::exhaustive_requests_p95,
    },
    Measurement {
        name: "requests of a find of three providers among 1000 nodes: mean",
        unit: Unit::Count,
        goal: Goal::AtMost(10.0),
        clock: Clock::Real,
        run: simulated::find_requests,
    },
    Measurement {
        name: "hops of an exhaustive lookup among 100,000 nodes: median",
        unit: Unit::Count,
        goal: Goal::AtMost(4.0),
        clock: Clock::Real,
        run: simulated::exhaustive_hops,
    },
    Measurement {
        name: "hops of an exhaustive lookup among 100,000 nodes: 95 %",
        unit: Unit::Count,
        goal: Goal::AtMost(5.0),
        clock: Clock::Real,
        run: simulated::exhaustive_hops_p95,
    },
    Measurement {
        name: "hops of a find of three providers among 100,000 nodes: median",
        unit: Unit::Count,
        goal: Goal::AtMost(4.0),
        clock: Clock::Real,
        run: simulated::find_hops,
    },
    Measurement {
        name: "hops of a find of three providers among 100,000 nodes: 95 %",
        unit: Unit::Count,
        goal: Goal::AtMost(5.0),
        clock: Clock::Real,
        run: simulated::find_hops_p95,
    },
    Measurement {
        name: "memory of 100,000 simulated nodes",
        unit: Unit::Bytes,
        goal: Goal::AtMost(2_684_354_560.0),
        clock: Clock::Real,
        run: simulated::memory_of_hundred_thousand,
    },
    Measurement {
        name: "finds that succeed, nodes coming and going, a tenth of the contacts dead",
        unit: Unit::Share,
        goal: Goal::AtLeast(0.999),
        clock: Clock::Real,
        run: simulated::finds_under_churn,
    },
    Measurement {
        name: "finds blind to what was withdrawn two seconds ago, nodes coming and going",
        unit: Unit::Share,
        goal: Goal::AtLeast(0.99),
        clock: Clock::Real,
        run: simulated::withdrawals_under_churn,
    },
    Measurement {
        name: "announcement at a round trip of 80 ms, all connected: 95 %",
        unit: Unit::Millis,
        goal: Goal::AtMost(1000.0),
        clock: Clock::Real,
        run: simulated::warm_announcements,
    },
    Measurement {
        name: "announcement at a round trip of 80 ms, nobody connected: 95 %",
        unit: Unit::Millis,
        goal: Goal::None,
        clock: Clock::Real,
        run: simulated::cold_announcements,
    },
];
