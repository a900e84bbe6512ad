//! Who provides a name: the [`Dht`] trait, the Kademlia machine behind it, and an in-memory twin.

mod dht;
mod error;

pub mod kad;
pub mod message;

#[cfg(feature = "driver")]
mod config;
#[cfg(feature = "driver")]
mod driver;

#[cfg(feature = "memory")]
mod memory;

#[cfg(feature = "contract")]
pub mod contract;

#[cfg(feature = "driver")]
pub use config::{DhtConfig, DhtConfigError};
pub use dht::{
    AnnounceReport, Announced, Dht, FindOptions, FindOutcome, Found, FoundProvider, Scope,
    WithdrawReport,
};
#[cfg(feature = "driver")]
pub use driver::{DhtStats, JoinError, JoinFailure, JoinFailureCause, JoinReport, KademliaDht};
pub use error::DhtError;
#[cfg(feature = "memory")]
pub use memory::{MemoryDht, MemoryDhtConfig, MemoryDhtStats};
