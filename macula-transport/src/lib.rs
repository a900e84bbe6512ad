//! Authenticated connections and streams behind the [`Transport`] trait, and the [`Endpoint`]
//! that pools them and carries requests.
//!
//! A transport proves who is at the other end, and nothing else: [`QuicTransport`] over UDP,
//! [`MemoryTransport`] within a process, or one of your own, which the suite in `contract` (feature
//! `contract`) puts to the test. An endpoint works over any of them. It says hello on each
//! connection, keeps as many as it may, dials when there is none, hands inbound requests to the
//! [`RequestHandler`] of their [`ProtocolId`], and says of every request that failed whether it can
//! have been [`Executed`]. What the bytes mean is none of its business.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # mod example {
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use macula_core::{Contact, SecretKey};
//! use macula_transport::{
//!     Endpoint, EndpointConfig, Executor, InboundRequest, MemoryNetwork, ProtocolId, Refusal,
//!     Request, RequestHandler,
//! };
//!
//! struct Echo;
//!
//! #[async_trait::async_trait]
//! impl RequestHandler for Echo {
//!     async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
//!         Ok(request.body)
//!     }
//! }
//!
//! # #[tokio::main]
//! # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = MemoryNetwork::new(1);
//! let start = |seed: u8| -> Result<Endpoint, Box<dyn std::error::Error>> {
//!     let transport = network.transport(&SecretKey::from_bytes(&[seed; 32]));
//!     Ok(Endpoint::start(Executor::Current.start()?, transport, EndpointConfig::default())?)
//! };
//! let (alice, bob) = (start(1)?, start(2)?);
//! bob.register(ProtocolId::RPC, Arc::new(Echo))?;
//!
//! let request = Request {
//!     protocol: ProtocolId::RPC,
//!     timeout: Duration::from_secs(5),
//!     body: Bytes::from_static(b"hello"),
//! };
//! let to = Contact { node_id: bob.node_id(), addresses: bob.addresses() };
//! assert_eq!(alice.request(&to, request).await?, "hello");
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "memory")]
//! # fn main() { example::main().unwrap() }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```

mod error;
mod transport;

#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "quic")]
mod quic;

mod executor;
mod wakeful;

mod endpoint;

#[cfg(feature = "contract")]
pub mod contract;

pub use endpoint::{
    Begun, Endpoint, EndpointConfig, EndpointConfigError, EndpointStats, Handling, InboundRequest,
    MAX_REQUEST_TIMEOUT, Peer, PeerConnection, PeerEvent, ProtocolId, ProtocolTaken, Request,
    RequestHandler, Role,
};
pub use error::{
    CloseCode, ConnectionError, DialError, Executed, Refusal, RequestError, RequestFailure,
    StreamError,
};
pub use executor::{Executor, NodeRuntime};
#[cfg(feature = "memory")]
pub use memory::{MemoryNetwork, MemoryTransport};
#[cfg(feature = "quic")]
pub use quic::{QuicConfig, QuicError, QuicTransport};
pub use transport::{
    Connection, ReceiveStream, SendStream, Stream, Traffic, Transport, TransportStats,
};
