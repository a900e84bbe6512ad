//! Whole networks: the same from the same seed, and they find what is there.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and what they print is shown when a test fails"
)]

mod determinism;
mod findability;
mod settings;
