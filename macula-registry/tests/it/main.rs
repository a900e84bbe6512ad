//! The registry from outside, on a paused clock.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails in a test's helper fails the test"
)]

mod advertise;
mod batches;
mod burst;
mod cache;
mod counters;
mod events;
mod expiry;
mod in_flight;
mod lookup;
mod meanwhile;
mod node;
mod order;
mod outage;
mod providers;
mod refresh;
mod scripted;
mod sequence;
mod sources;
mod stale;
mod withdraw;
