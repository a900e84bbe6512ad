//! The client over real QUIC on loopback: what a user of the crate can rely on.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test's helper fails the test"
)]

mod memory;

mod calls;
mod contract;
mod examples;
#[cfg(target_os = "linux")] // Threads are looked up in /proc.
mod lifetime;
mod network;
mod parts;
mod scale;
mod system;
