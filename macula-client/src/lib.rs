//! Advertise a function under a name; call it by that name from anywhere.
//!
//! ```no_run
//! use macula_client::Client;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct GetUser {
//!     user_id: String,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct User {
//!     name: String,
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder()
//!     .realm("com.myapp")
//!     .bootstrap(["10.0.0.7:9443"])
//!     .connect()
//!     .await?;
//!
//! // One program provides the function …
//! let advertisement = client
//!     .advertise("myapp.get_user", |query: GetUser| async move {
//!         Ok(User { name: format!("user {}", query.user_id) })
//!     })
//!     .metadata("version", "1.0")
//!     .await?;
//!
//! // … and another one calls it.
//! let user: User = client.call("myapp.get_user", &GetUser { user_id: "123".into() }).await?;
//! # let _ = user.name;
//!
//! advertisement.withdraw().await?;
//! client.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Everything below can be replaced: see [`ClientBuilder::transport`], [`ClientBuilder::dht`] and
//! [`ClientBuilder::selector`]. The crates of the layers are re-exported for that:
//! [`transport`], [`dht`], [`registry`], [`rpc`].

mod builder;
mod client;
mod clock;
mod error;

mod advertise;
mod call;

pub mod system;
pub mod testnet;

pub use macula_dht as dht;
pub use macula_registry as registry;
pub use macula_rpc as rpc;
pub use macula_transport as transport;

pub use advertise::Advertise;
pub use builder::ClientBuilder;
pub use call::CallBuilder;
pub use client::{Client, WeakClient};
pub use clock::system_clock;
pub use error::{AdvertiseError, ConnectError, ProvidersError, UnadvertiseError};
pub use macula_core::{
    Addresses, Contact, ContactError, Delivery, DialTarget, IdentityError, IdentityFile, Metadata,
    NameError, NodeId, Provider, Realm, SecretKey, ServiceName, Timestamp, WallClock,
};
pub use macula_registry::{Advertisement, AdvertisementState, Source};
pub use macula_rpc::{CallError, Codec, HandlerError, Reply};
pub use macula_transport::{Executed, Executor, Role};

/// Compiles the README's program.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Compiles the guide's programs.
#[cfg(doctest)]
#[doc = include_str!("../../GUIDE.md")]
struct Guide;
