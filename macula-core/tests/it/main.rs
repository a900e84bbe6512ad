//! What macula-core promises, seen from outside: forging, time, merging, decoding, relaying, and
//! the bytes on the wire.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test's helper fails the test"
)]

mod decoding;
mod forging;
mod generate;
mod golden;
mod merging;
mod relaying;
mod specification;
mod timing;
mod wire;
