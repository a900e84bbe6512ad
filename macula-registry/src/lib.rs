//! What this node serves, who serves the rest, and how others learn of it.
//!
//! [`Registry`] keeps three things: the services of this node ([`LocalService`]), the providers
//! that were discovered for other names ([`Resolved`]), and the life of this node's own
//! advertisements ([`Advertisement`]). It knows the DHT only as the [`Dht`](macula_dht::Dht) trait,
//! and neither dials nor calls.
//!
//! A name is looked for here, then in the cache, then in the DHT, then among the connected peers,
//! by one lookup however many wait; the answer says where it came from ([`Resolved`]). An advertisement
//! publishes at once, renews itself on a schedule, says [`Degraded`](AdvertisementState::Degraded)
//! when the network does not take it, and withdraws when its handle is dropped.

mod registry;

mod local;

mod advertisement;

mod cache;
mod resolve;

mod event;

mod config;
mod error;
mod identity;
mod stats;

pub use advertisement::{AdvertiseOptions, Advertisement, AdvertisementState, DEFAULT_TTL, Ending};
pub use config::{RegistryConfig, RegistryConfigError};
pub use error::{AdvertiseError, ResolveError, UnadvertiseError};
pub use event::RegistryEvent;
pub use identity::Identity;
pub use local::LocalService;
pub use registry::Registry;
pub use resolve::{MAX_WANTED, ResolveOptions, Resolved, Source};
pub use stats::{CacheStats, PublishStats, RegistryStats};
