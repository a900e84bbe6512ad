//! The figures of the project, each measured beside what it is compared with, in the same run.
//!
//! A [`Measurement`] of an [`Area`] runs two things in turn ([`paired`]) under the same load
//! ([`load`]) and hands what it saw to [`statistics`], which judges it against a goal. The
//! program `figures` prints the [`Figure`]s; the criterion benches share the fixtures.

pub mod statistics;

mod figure;
mod measurement;
mod session;

mod cpu;
pub mod load;
pub mod paired;

pub mod fixture;
pub mod part;
pub mod raw_quic;
pub mod zipf;

pub mod area;

pub use figure::{Area, Figure, Unit};
pub use measurement::{Clock, Measurement};
pub use session::{Pace, Session, Traffic};
