//! Requests over QUIC, beside one s2n-quic stream per request and beside themselves undisturbed.
//!
//! Raw streams have the datagrams that ours have on loopback, of 9,000 bytes: what is compared is
//! what is done above QUIC, and not how long a datagram may be. Both ends are in one process, as
//! those of raw streams are: with 64 small requests in flight they share one thread, elsewhere each
//! has its own. The row beside that one shows what a thread for each costs where processors are few.

mod allocations;
mod beside_moving;
mod beside_raw;
mod choices;
mod disturbed;
mod memory;

use std::time::Duration;

use macula_transport::contract::impairment::Impairment;

use self::beside_moving::{Mix, on_a_line, on_loopback};
use self::beside_raw::{Case, beside_raw, lossy};
use self::disturbed::{beside_bulk, burst, flood};
use self::memory::{connections_held, memory_per_connection};
use crate::figure::Unit;
use crate::fixture::Ends;
use crate::load::Load;
use crate::measurement::{Clock, Measurement};
use crate::session::Traffic;
use crate::statistics::Goal;

/// What is measured of macula-transport in long sessions only.
pub(super) const LONG: &[&[Measurement]] = &[choices::LONG];

/// What is measured of macula-transport.
pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement::ratio(
        "warm requests of 64 bytes, 64 in flight: rate over a raw stream per request",
        Goal::AtLeast(3.0),
        |session| {
            beside_raw(session, &SMALL.in_flight(64).with_ends(Ends::Together))?
                .ratio_of(Load::rate)
        },
    ),
    Measurement::ratio(
        "the same with the two ends on threads of their own",
        Goal::AtLeast(2.0),
        |session| beside_raw(session, &SMALL.in_flight(64))?.ratio_of(Load::rate),
    ),
    Measurement::ratio(
        "the same with everything on one thread",
        Goal::AtLeast(2.0),
        |session| {
            beside_raw(session, &SMALL.in_flight(64).with_ends(Ends::AmongCallers))?
                .ratio_of(Load::rate)
        },
    ),
    Measurement::ratio(
        "warm requests of 64 bytes, 1 in flight: p50 over a raw stream per request",
        Goal::AtMost(1.2),
        |session| beside_raw(session, &SMALL.in_flight(1))?.ratio_of(Load::median_us),
    ),
    Measurement::ratio(
        "the same, 1 in flight, with everything on one thread",
        Goal::AtMost(1.2),
        |session| {
            beside_raw(session, &SMALL.in_flight(1).with_ends(Ends::AmongCallers))?
                .ratio_of(Load::median_us)
        },
    ),
    Measurement::ratio(
        "warm requests of 4 KiB, 64 in flight: rate over a raw stream per request",
        Goal::AtLeast(1.2),
        |session| beside_raw(session, &SMALL.in_flight(64).of(4 * KIB))?.ratio_of(Load::rate),
    ),
    Measurement::ratio(
        "requests of 16 MiB, 2 in flight: throughput over raw streams",
        Goal::AtLeast(0.9),
        |session| beside_raw(session, &BULK)?.ratio_of(Load::rate),
    ),
    Measurement::ratio(
        "20 ms round trip, 1 % loss each way, 2000 a second: p95 over a raw stream per request",
        Goal::AtMost(1.3),
        |session| lossy(session, &LOSSY)?.pooled_ratio(0.95),
    ),
    Measurement::ratio(
        "20 ms round trip, 1 % loss each way, 2000 a second: p99 over a raw stream per request",
        Goal::AtMost(1.1),
        |session| lossy(session, &LOSSY)?.pooled_ratio(0.99),
    ),
    Measurement::ratio(
        "requests of 64 bytes, 64 in flight, beside 8 unread bulk streams: rate over alone",
        Goal::AtLeast(0.9),
        beside_bulk,
    ),
    Measurement::ratio(
        "requests of 64 bytes, 16 in flight, beside moving bodies of 16 MiB: p99 over raw",
        Goal::AtMost(1.0),
        |session| on_loopback(session, &BESIDE_BULK)?.small.pooled_ratio(0.99),
    ),
    Measurement::ratio("the same: rate over raw", Goal::AtLeast(1.0), |session| {
        on_loopback(session, &BESIDE_BULK)?
            .small
            .ratio_of(Load::rate)
    }),
    Measurement::ratio(
        "the same: throughput of the bodies over raw",
        Goal::None,
        |session| {
            on_loopback(session, &BESIDE_BULK)?
                .long
                .ratio_of(Load::rate)
        },
    ),
    Measurement::ratio(
        "20 ms round trip, 8 MiB/s, 500 a second beside moving bodies of 256 KiB: p99 over raw",
        Goal::AtMost(1.0),
        |session| {
            on_a_line(session, &BESIDE_UPLOADS)?
                .small
                .pooled_ratio(0.99)
        },
    ),
    Measurement::ratio(
        "the same: throughput of the bodies over raw",
        Goal::AtLeast(0.9),
        |session| {
            on_a_line(session, &BESIDE_UPLOADS)?
                .long
                .ratio_of(Load::rate)
        },
    ),
    Measurement::ratio(
        "requests of 64 bytes, 2000 a second, while a peer floods: p99 over the quiet p99",
        Goal::AtMost(2.0),
        flood,
    ),
    Measurement::ratio(
        "requests of 64 bytes, 2000 a second, while 1000 peers are dialled: p99 over quiet",
        Goal::AtMost(3.0),
        burst,
    ),
    Measurement::ratio(
        "memory of an idle connection that carried a request, less 8 KiB, over a raw one",
        Goal::AtMost(1.1),
        memory_per_connection,
    ),
    Measurement {
        name: "idle connections that carried a request, held by one node",
        unit: Unit::Count,
        goal: Goal::AtLeast(1000.0),
        clock: Clock::Real,
        run: connections_held,
    },
    Measurement {
        name: "allocations of a warm request of 64 bytes, 64 in flight, beside its body: caller",
        unit: Unit::Count,
        goal: Goal::AtMost(0.1),
        clock: Clock::Virtual,
        run: allocations::of_caller,
    },
    Measurement {
        name: "the same: server, answered on the spot",
        unit: Unit::Count,
        goal: Goal::AtMost(0.1),
        clock: Clock::Virtual,
        run: allocations::of_server,
    },
];

/// Bytes of small requests and their replies.
pub(super) const BODY_BYTES: usize = 64;

const KIB: usize = 1024;

/// Small requests over loopback, each end on a thread of its own.
const SMALL: Case = Case {
    ends: Ends::Apart,
    impairment: None,
    body_bytes: BODY_BYTES,
    traffic: Traffic::closed(1),
};

/// Requests as large as they may be, for long enough that their number says something.
const BULK: Case = Case {
    body_bytes: 16 * KIB * KIB,
    traffic: Traffic::closed(2).for_slices(4),
    ..SMALL
};

/// Requests that do not wait for each other, over a long path that loses some datagrams: the tail
/// is read off more than 30,000 of each side together.
const LOSSY: Case = Case {
    impairment: Some(Impairment {
        one_way_delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0.01,
        duplication: 0.0,
        bytes_per_second: None,
    }),
    traffic: Traffic::open(2000.0).for_slices(6),
    ..SMALL
};

/// As many requests as keep both ends busy, beside as much bulk as goes through.
const BESIDE_BULK: Mix = Mix {
    impairment: None,
    small: Traffic::closed(16).for_slices(2),
    long: Traffic::closed(2).for_slices(2),
    long_bytes: 16 * KIB * KIB,
};

/// Requests now and then, beside bodies that take all that the line carries, both ways.
const BESIDE_UPLOADS: Mix = Mix {
    impairment: Some(Impairment {
        one_way_delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0.0,
        duplication: 0.0,
        bytes_per_second: Some(8 << 20),
    }),
    small: Traffic::open(500.0).for_slices(4),
    long: Traffic::closed(8).for_slices(4),
    long_bytes: 256 * KIB,
};
