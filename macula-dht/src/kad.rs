//! Kademlia as a machine without sockets, tasks, locks, clock or global randomness.
//!
//! The owner tells [`Kademlia`] what happened and what it wants, then drains
//! [`poll_output`](Kademlia::poll_output) and re-arms its timer with
//! [`poll_timeout`](Kademlia::poll_timeout). The same seed and inputs give the same outputs.

mod config;
mod output;

pub use config::{KadConfig, KadConfigError, Local, StoreConfig};
pub use output::{
    Ask, KadStats, MAX_ASKED, OperationId, OperationResult, Outbound, Output, RequestId, Search,
};
