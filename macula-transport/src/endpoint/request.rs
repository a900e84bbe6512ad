//! Requests, as the layers above see them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::NodeId;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::peer::Role;
use crate::Refusal;

/// Which layer's messages a request carries. One byte on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProtocolId(pub u8);

impl ProtocolId {
    /// Of the endpoints among themselves; cannot be registered.
    pub(crate) const CONTROL: Self = Self(0);
    /// Of the DHT.
    pub const DHT: Self = Self(1);
    /// Of calls.
    pub const RPC: Self = Self(2);
}

/// The protocol has a handler already, or is the endpoint's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("protocol {} has a handler", .0.0)]
pub struct ProtocolTaken(pub ProtocolId);

/// One message to a peer, which is answered by one message.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who handles it there.
    pub protocol: ProtocolId,
    /// How long to wait for the reply, connecting included. The peer is told what is left of it.
    pub timeout: Duration,
    /// The message.
    pub body: Bytes,
}

/// Answers the requests of one protocol.
#[async_trait]
pub trait RequestHandler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// Runs in a task of its own, where
    /// [`register`](crate::Endpoint::register) or
    /// [`register_inline`](crate::Endpoint::register_inline) says. The future is dropped when the
    /// caller gives up, when the request's time is over, or when the connection ends.
    ///
    /// # Errors
    /// [`Refusal`] when nothing was carried out.
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal>;

    /// Begins to answer one request, for those that are registered inline: one that is answered
    /// here costs no future, and one that is not can choose where it goes on.
    fn begin(self: Arc<Self>, request: InboundRequest) -> Begun {
        Begun::Here(Box::pin(async move { self.handle(request).await }))
    }
}

/// How far the answer to a request has come on the spot.
pub enum Begun {
    /// To its end.
    Answered(Result<Bytes, Refusal>),
    /// It is to go on here, and in a task of the endpoint's runtime if it has to wait.
    Here(Handling),
    /// It is to go on in a task of this runtime, without being polled here.
    On(Handle, Handling),
}

/// The rest of the way to an answer.
pub type Handling = Pin<Box<dyn Future<Output = Result<Bytes, Refusal>> + Send>>;

/// A request of a peer.
#[derive(Debug, Clone)]
pub struct InboundRequest {
    /// Who asks: the identity the transport proved.
    pub from: NodeId,
    /// What the peer says it is.
    pub role: Role,
    /// When all of it was there.
    pub arrived: Instant,
    /// How long from then the peer still waits, at most
    /// [`MAX_REQUEST_TIMEOUT`](crate::MAX_REQUEST_TIMEOUT).
    pub remaining: Duration,
    /// The message.
    pub body: Bytes,
}
