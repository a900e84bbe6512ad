//! The joint below the endpoint: how nodes reach each other.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::{DialTarget, NodeId};

use serde::{Deserialize, Serialize};

use crate::{CloseCode, ConnectionError, DialError, StreamError};

/// Dials and accepts connections between nodes whose identities are proved.
///
/// Implementations pass the suite in `macula_transport::contract`.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Who this node is to its peers.
    fn node_id(&self) -> NodeId;

    /// Connects to a node and checks its identity.
    ///
    /// # Errors
    /// [`DialError`]; in every case nothing is left behind.
    ///
    /// # Cancel safety
    /// Dropping the future gives the dial up.
    async fn dial(&self, target: &DialTarget) -> Result<Arc<dyn Connection>, DialError>;

    /// Waits for the next connection from a peer; `None` once the transport is closed.
    ///
    /// # Cancel safety
    /// No connection is lost when the future is dropped.
    async fn accept(&self) -> Option<Arc<dyn Connection>>;

    /// The addresses this node is bound to and accepts connections at; empty for a node that only
    /// dials. An unspecified IP stands for every one of the host's.
    fn local_addresses(&self) -> Vec<SocketAddr>;

    /// What it has counted so far; `None` from a transport that does not count.
    fn stats(&self) -> Option<TransportStats> {
        None
    }

    /// Closes every connection with a code, stops accepting, and frees the sockets.
    async fn close(&self, code: CloseCode);
}

/// What a transport has counted since it was bound, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransportStats {
    /// Connections held now, those included that are not in use yet or any more.
    pub connections: usize,
    /// What went over all of them, past and present, handshakes included; none if that is not
    /// counted.
    pub traffic: Option<Traffic>,
    /// Connections of peers that were closed as overloaded, because too many waited to be accepted.
    pub overflowed: u64,
    /// Handshakes of peers that first had to prove their address, because many others were in
    /// progress.
    pub handshakes_retried: u64,
    /// Handshakes of peers that were refused, because too many others were in progress.
    pub handshakes_refused: u64,
}

/// A connection to one peer, whose identity has been proved by the transport.
#[async_trait]
pub trait Connection: Send + Sync + 'static {
    /// Who is at the other end.
    fn peer(&self) -> NodeId;

    /// The address that the peer's packets come from.
    fn remote_address(&self) -> SocketAddr;

    /// The current estimate of the round-trip time.
    fn rtt(&self) -> Duration;

    /// What went over the connection so far; `None` from a transport that does not count.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// Opens a bidirectional stream; waits while the peer's stream limit is reached.
    ///
    /// # Cancel safety
    /// Dropping the future opens nothing.
    async fn open(&self) -> Result<Stream, ConnectionError>;

    /// Waits for the peer's next stream. A stream exists for the peer once something was sent on it.
    ///
    /// # Cancel safety
    /// No stream is lost when the future is dropped.
    async fn accept(&self) -> Result<Stream, ConnectionError>;

    /// Waits until the connection has ended and says why.
    async fn closed(&self) -> ConnectionError;

    /// Ends the connection and all its streams at once; the peer learns the code.
    fn close(&self, code: CloseCode);
}

/// What went over a connection, or over several of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Bytes sent, everything that the transport adds included.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Packets of ours that are taken for lost.
    pub packets_lost: u64,
}

impl Traffic {
    /// The sum of what is known.
    pub(crate) fn sum(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (Some(mut sum), Some(more)) = (one, other) else {
            return one.or(other);
        };
        sum += more;
        Some(sum)
    }

    /// What has come on top of an earlier count.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            bytes_sent: self.bytes_sent.saturating_sub(earlier.bytes_sent),
            bytes_received: self.bytes_received.saturating_sub(earlier.bytes_received),
            packets_lost: self.packets_lost.saturating_sub(earlier.packets_lost),
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.bytes_sent += more.bytes_sent;
        self.bytes_received += more.bytes_received;
        self.packets_lost += more.packets_lost;
    }
}

/// Both directions of a stream.
pub struct Stream {
    /// What we send.
    pub send: Box<dyn SendStream>,
    /// What the peer sends.
    pub receive: Box<dyn ReceiveStream>,
}

/// The sending half of a stream. Dropping it unfinished resets it, so that a cancelled sender never
/// looks complete.
pub trait SendStream: Send + Sync + 'static {
    /// Takes bytes from the front of `chunk` as flow control permits; ready once it is empty.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamError>>;

    /// How much of what was sent the transport still holds, in bytes, because the peer has not
    /// acknowledged it; wakes when that may have become less, if it is more than could be held. None
    /// where nothing is held.
    fn unacknowledged(&mut self, _cx: &mut Context<'_>) -> usize {
        0
    }

    /// Says that nothing follows; what was sent is still delivered.
    fn finish(&mut self) -> Result<(), StreamError>;

    /// Gives the stream up; the peer learns the code.
    fn reset(&mut self, code: CloseCode);
}

/// The receiving half of a stream. Dropping it unread tells the peer to stop sending.
pub trait ReceiveStream: Send + Sync + 'static {
    /// The next chunk; `None` after the last. Chunks are not messages: the transport may split and
    /// join them.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>>;

    /// Tells the peer to stop sending.
    fn stop(&mut self, code: CloseCode);
}

impl dyn SendStream + '_ {
    /// Sends a chunk; waits while flow control holds us back.
    ///
    /// # Errors
    /// [`StreamError`].
    ///
    /// # Cancel safety
    /// Not cancel safe: how much of the chunk was sent is lost with the future, so that the stream
    /// can only be reset.
    pub async fn send(&mut self, mut chunk: Bytes) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_send(cx, &mut chunk)).await
    }
}

impl dyn ReceiveStream + '_ {
    /// Waits for the next chunk; `None` after the last.
    ///
    /// # Errors
    /// [`StreamError`].
    ///
    /// # Cancel safety
    /// No chunk is lost when the future is dropped.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }
}
