//! Who provides a name: the [`Dht`] trait, the Kademlia machine behind it, and an in-memory twin.
//!
//! * [`Dht`] is what the layers above know: announce, withdraw, find. The suite in `contract`
//!   (feature `contract`) puts an implementation of your own to the test.
//! * [`kad`] decides: routing table, lookups, placements, the store of what is held for others. It
//!   has no sockets, no tasks and no clock, so that whole networks can be simulated.
//! * `KademliaDht` (feature `driver`) runs that machine over an endpoint and is a [`Dht`].
//! * `MemoryDht` (feature `memory`) is one without a network.
//! * [`message`] is what nodes say to each other.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # mod example {
//! use std::num::NonZeroUsize;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use macula_core::{Delivery, ProviderRecord, RecordDraft, SecretKey, Timestamp};
//! use macula_dht::{Dht, FindOptions, FindOutcome, MemoryDht, Scope};
//!
//! # #[tokio::main]
//! # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Timestamp::from_unix_millis(1_800_000_000_000);
//! let dht: Arc<dyn Dht> = MemoryDht::new(Arc::new(move || now));
//! let record = ProviderRecord::sign(
//!     &SecretKey::from_bytes(&[7; 32]),
//!     RecordDraft {
//!         realm: "com.myapp".parse()?,
//!         service: "myapp.get_user".parse()?,
//!         addresses: ["10.0.0.7:9443".parse()?].into_iter().collect(),
//!         metadata: Default::default(),
//!         delivery: Delivery::AtLeastOnce,
//!         seq: 1,
//!         issued_at: now,
//!         ttl: Duration::from_secs(300),
//!         extensions: Default::default(),
//!     },
//! )?;
//! let key = record.key();
//! dht.announce(vec![record]).await?;
//!
//! let options = FindOptions {
//!     want: NonZeroUsize::MIN,
//!     timeout: Duration::from_secs(2),
//!     scope: Scope::Network,
//!     trace: false,
//! };
//! assert_eq!(dht.find(key, options).await?.outcome, FindOutcome::Found);
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "memory")]
//! # fn main() { example::main().unwrap() }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```

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
pub use config::{DhtConfig, DhtConfigError, Rate};
pub use dht::{
    AnnounceReport, Announced, Dht, FindOptions, FindOutcome, Found, FoundProvider, Hop,
    HopOutcome, Scope, WithdrawReport, Withdrawn,
};
#[cfg(feature = "driver")]
pub use driver::{DhtStats, JoinError, JoinFailure, JoinFailureCause, JoinReport, KademliaDht};
pub use error::DhtError;
#[cfg(feature = "memory")]
pub use memory::{MemoryDht, MemoryDhtConfig, MemoryDhtStats};
