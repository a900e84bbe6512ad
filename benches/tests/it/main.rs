//! Measurements that take other processes, made small: whether they can fail, above all.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test's helper fails the test"
)]

mod failover;
