//! Whole DHT networks in virtual time, on one thread, from one seed.
//!
//! A [`Network`] runs the real [`Kademlia`](macula_dht::kad::Kademlia) machines, one per node,
//! and plays the messages between them from an event queue: no sockets, no tasks, no clock. Equal
//! seeds give equal traces, which [`Report::trace_hash`] proves.
//!
//! A [`Scenario`] says what happens to a network, and [`Scenario::run`] returns what came of it;
//! a [`Simulation`] plays it step by step:
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
mod simulation;

mod checker;
mod error;
mod network;
mod report;

mod churn;
mod fault;
mod latency;
mod population;

mod event;
mod identity;
mod trace;
mod traffic;

pub use churn::Churn;
pub use error::SimError;
pub use fault::Faults;
pub use latency::Latency;
pub use network::{Connections, Network, NetworkConfig, Outcome};
pub use population::{Lies, Population};
pub use report::{
    AnnounceFigures, FindFigures, HolderFigures, JoinFigures, Report, Spread, Success,
    WithdrawFigures,
};
pub use scenario::{Join, Partition, Scenario};
pub use simulation::{Finds, Progress, Simulation};
pub use traffic::{Sent, Traffic};
