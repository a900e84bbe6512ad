//! The crate as its users see it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails in a test's helper fails the test"
)]

#[cfg(feature = "quic")]
mod quic;
