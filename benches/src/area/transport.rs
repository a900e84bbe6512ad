//! Requests over QUIC, beside one s2n-quic stream per request and beside themselves undisturbed.

mod beside_raw;
mod disturbed;
mod memory;

use std::time::Duration;

use macula_transport::Executor;
use macula_transport::contract::impairment::Impairment;

use self::beside_raw::{Case, beside_raw, lossy};
use self::disturbed::{beside_bulk, burst, flood};
use self::memory::{connections_held, memory_per_connection};
use crate::figure::Unit;
use crate::load::Load;
use crate::measurement::{Clock, Measurement};
use crate::session::Traffic;
use crate::statistics::Goal;

/// What is measured of macula-transport.
pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement::ratio(
        "warm requests of 64 bytes, 64 in flight: rate over a raw stream per request",
        Goal::AtLeast(3.0),
        |session| beside_raw(session, &SMALL.in_flight(64))?.ratio_of(Load::rate),
    ),
    Measurement::ratio(
        "the same with everything on one thread",
        Goal::AtLeast(2.0),
        |session| beside_raw(session, &SMALL.in_flight(64).on_one_thread())?.ratio_of(Load::rate),
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
            beside_raw(session, &SMALL.in_flight(1).on_one_thread())?.ratio_of(Load::median_us)
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
        |session| lossy(session, &LOSSY)?.ratio_of(|load| load.quantile_us(0.95)),
    ),
    Measurement::ratio(
        "20 ms round trip, 1 % loss each way, 2000 a second: p99 over a raw stream per request",
        Goal::AtMost(1.1),
        |session| lossy(session, &LOSSY)?.ratio_of(|load| load.quantile_us(0.99)),
    ),
    Measurement::ratio(
        "requests of 64 bytes, 64 in flight, beside 8 unread bulk streams: rate over alone",
        Goal::AtLeast(0.9),
        beside_bulk,
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
        "memory of an idle connection, less 8 KiB, over a raw one",
        Goal::AtMost(1.1),
        memory_per_connection,
    ),
    Measurement {
        name: "idle connections held by one node",
        unit: Unit::Count,
        goal: Goal::AtLeast(1000.0),
        clock: Clock::Real,
        run: connections_held,
    },
];

/// Bytes of small requests and their replies.
pub(super) const BODY_BYTES: usize = 64;

const KIB: usize = 1024;

/// Small requests over loopback, the node on a thread of its own.
const SMALL: Case = Case {
    executor: Executor::Own,
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

/// Requests that do not wait for each other, over a long path that loses some datagrams: more than
/// 20,000 of them on each side.
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
