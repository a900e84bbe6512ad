//! The program as its users meet it: real processes, real sockets on loopback.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails in a test's helper fails the test"
)]

mod program;

mod commands;
mod demo;
mod mesh;
mod usage;
