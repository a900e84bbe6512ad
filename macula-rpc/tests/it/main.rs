//! Calls between whole nodes, over a network and a DHT in one process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test's helper fails the test"
)]

mod access;
mod caller;
mod codecs;
mod contract;
mod failover;
mod health;
mod inline;
mod lifecycle;
mod mesh;
mod metrics;
mod recovery;
mod server;
mod tiers;
mod trace;
mod wanted;
