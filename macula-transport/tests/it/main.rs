//! The crate as its users see it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test's helper fails the test"
)]

mod memory;
#[cfg(feature = "quic")]
mod quic;

mod endpoint;
#[cfg(feature = "quic")]
mod impairment;
#[cfg(feature = "simulation")]
mod simulated;
