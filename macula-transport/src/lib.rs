//! Authenticated connections and streams behind the [`Transport`] trait, and the [`Endpoint`]
//! that pools them and carries requests.

mod error;
mod transport;

#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "quic")]
mod quic;

mod executor;

mod endpoint;

#[cfg(feature = "contract")]
pub mod contract;

pub use endpoint::{
    Endpoint, EndpointConfig, EndpointConfigError, EndpointStats, InboundRequest, Peer, PeerEvent,
    ProtocolId, ProtocolTaken, Request, RequestHandler, Role,
};
pub use error::{
    CloseCode, ConnectionError, DialError, Executed, Refusal, RequestError, RequestFailure,
    StreamError,
};
pub use executor::{Executor, NodeRuntime};
#[cfg(feature = "memory")]
pub use memory::{MemoryNetwork, MemoryTransport};
#[cfg(feature = "quic")]
pub use quic::{QuicConfig, QuicError, QuicStats, QuicTransport};
pub use transport::{Connection, ReceiveStream, SendStream, Stream, Transport};
