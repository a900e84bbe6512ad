//! Whole DHT networks in virtual time, on one thread, from one seed.
//!
//! A [`Network`] runs the real [`Kademlia`](macula_dht::kad::Kademlia) machines, one per node,
//! and plays the messages between them from an event queue: no sockets, no tasks, no clock. Equal
//! seeds give equal traces, which [`Report::trace_hash`] proves.
//!
//! A [`Scenario`] says what happens to a network, and [`Scenario::run`] returns what came of it:
//!
//! ```
//! use macula_sim::Scenario;
//!
//! # fn main() -> Result<(), macula_sim::SimError> {
//! let report = Scenario { nodes: 50, finds: 50, ..Scenario::default() }.run()?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```

mod scenario;

mod checker;
mod error;
mod network;
mod report;

mod event;
mod fault;
mod identity;
mod latency;
mod trace;
mod traffic;

pub use error::SimError;
pub use fault::Faults;
pub use latency::Latency;
pub use network::{Network, NetworkConfig, Outcome};
pub use report::{AnnounceFigures, FindFigures, JoinFigures, Report, Spread, WithdrawFigures};
pub use scenario::{Join, Scenario};
pub use traffic::Traffic;
