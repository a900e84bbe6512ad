//! Who provides a name: the [`Dht`] trait, the Kademlia machine behind it, and an in-memory twin.

mod dht;
mod error;

pub mod kad;
pub mod message;

#[cfg(feature = "memory")]
mod memory;

#[cfg(feature = "contract")]
pub mod contract;

pub use dht::{
    AnnounceReport, Announced, Dht, FindOptions, FindOutcome, Found, FoundProvider, Scope,
    WithdrawReport,
};
pub use error::DhtError;
#[cfg(feature = "memory")]
pub use memory::{MemoryDht, MemoryDhtConfig, MemoryDhtStats};
