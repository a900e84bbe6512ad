//! What can go wrong between nodes, and whether a request may have been carried out.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use macula_core::NodeId;

/// Whether a request can have been executed by the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Executed {
    /// It was not: trying elsewhere is always safe.
    No,
    /// It may have been: the answer, if there was one, did not arrive.
    Unknown,
    /// It was.
    Yes,
}

/// Why a connection or a stream was ended on purpose. The number travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// Nothing more to say.
    Done,
    /// The node shuts down.
    ShuttingDown,
    /// The peer is in another realm.
    WrongRealm,
    /// No common protocol version.
    WrongVersion,
    /// The peer broke the protocol.
    Malformed,
    /// The peer did not say hello in time.
    HelloTimeout,
    /// Unused for too long, or to make room for another.
    Idle,
    /// Some limit of this node was reached.
    Overloaded,
    /// The request on this stream is no longer wanted.
    Cancelled,
    /// The peer left requests unanswered, and pings too.
    Unresponsive,
    /// A code of a later version.
    Other(u32),
}

impl CloseCode {
    const KNOWN: [(Self, u32); 10] = [
        (Self::Done, 0),
        (Self::ShuttingDown, 1),
        (Self::WrongRealm, 2),
        (Self::WrongVersion, 3),
        (Self::Malformed, 4),
        (Self::HelloTimeout, 5),
        (Self::Idle, 6),
        (Self::Overloaded, 7),
        (Self::Cancelled, 8),
        (Self::Unresponsive, 9),
    ];

    /// The number on the wire.
    pub fn to_wire(self) -> u32 {
        match self {
            Self::Other(number) => number,
            known => Self::KNOWN
                .iter()
                .find(|(code, _)| *code == known)
                .map_or(0, |(_, number)| *number),
        }
    }

    /// The code of a number; numbers of later versions are kept.
    pub fn from_wire(number: u32) -> Self {
        Self::KNOWN
            .iter()
            .find(|(_, known)| *known == number)
            .map_or(Self::Other(number), |(code, _)| *code)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::ShuttingDown => "shutting down",
            Self::WrongRealm => "wrong realm",
            Self::WrongVersion => "no common protocol version",
            Self::Malformed => "protocol broken",
            Self::HelloTimeout => "no hello in time",
            Self::Idle => "idle",
            Self::Overloaded => "overloaded",
            Self::Cancelled => "cancelled",
            Self::Unresponsive => "unresponsive",
            Self::Other(number) => return write!(f, "code {number}"),
        })
    }
}

/// Why no connection to a peer came about. Nothing was executed; trying elsewhere is safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// There is no address to dial.
    #[error("no address to dial")]
    NoAddress,
    /// A host name has no address.
    #[error("cannot resolve {host}")]
    Unresolvable {
        /// The name.
        host: String,
    },
    /// Somebody else answered than the node that was dialled.
    #[error("{address} answered with another identity than {expected}")]
    WrongIdentity {
        /// Who was dialled.
        expected: NodeId,
        /// Where.
        address: SocketAddr,
    },
    /// Nobody answered within a limit, name resolution, handshake and hello included. The limit is
    /// that of the whole dial, waiting for its turn included
    /// ([`EndpointConfig::dial_timeout`](crate::EndpointConfig::dial_timeout)), or the transport's
    /// for a handshake where that is shorter.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The peer refused us: its reason.
    #[error("refused by peer: {0}")]
    Refused(CloseCode),
    /// The peer answered with something else than a hello.
    #[error("peer broke the protocol")]
    Malformed,
    /// The last dial failed a moment ago; the next is not due yet.
    #[error("backing off for {0:?}")]
    BackingOff(Duration),
    /// The network refused to carry the dial.
    #[error("unreachable")]
    Unreachable,
    /// The connection limit is reached, and no connection became idle in time.
    #[error("connection limit reached")]
    PoolFull,
    /// This node has more to dial than it comes to in time. Nothing is known of the peer.
    #[error("too many dials")]
    Busy,
    /// The dial led back to this node.
    #[error("dialled this node itself")]
    OwnNode,
    /// This node, or its transport, is closed.
    #[error("closed")]
    Closed,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer closed it, with its reason.
    #[error("closed by peer: {0}")]
    ClosedByPeer(CloseCode),
    /// We closed it.
    #[error("closed: {0}")]
    Closed(CloseCode),
    /// The peer fell silent.
    #[error("timed out")]
    TimedOut,
    /// The peer restarted and knows nothing of the connection, or the transport failed.
    #[error("lost")]
    Lost,
}

/// Why a stream ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer gave the stream up, with its reason.
    #[error("reset by peer: {0}")]
    Reset(CloseCode),
    /// The stream was finished or reset on our side.
    #[error("closed")]
    Closed,
    /// The whole connection ended.
    #[error("connection ended")]
    Connection(#[from] ConnectionError),
}

/// Why a peer did not carry a request out. Trying elsewhere is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It has too much to do.
    #[error("overloaded")]
    Overloaded,
    /// It is shutting down.
    #[error("shutting down")]
    ShuttingDown,
    /// It does not speak the protocol of the request.
    #[error("unknown protocol")]
    UnknownProtocol,
    /// It could not read the request.
    #[error("malformed request")]
    Malformed,
    /// It does not let us.
    #[error("denied")]
    Denied,
    /// The time of the request was over when it arrived.
    #[error("deadline exceeded")]
    DeadlineExceeded,
    /// The request is longer than it takes.
    #[error("request is too large")]
    TooLarge,
    /// It is about to close the connection that the request came on; another would do.
    #[error("connection is being closed")]
    Leaving,
}

impl Refusal {
    const KNOWN: [(Self, u8); 8] = [
        (Self::Overloaded, 1),
        (Self::ShuttingDown, 2),
        (Self::UnknownProtocol, 3),
        (Self::Malformed, 4),
        (Self::Denied, 5),
        (Self::DeadlineExceeded, 6),
        (Self::TooLarge, 7),
        (Self::Leaving, 8),
    ];

    /// The number on the wire.
    pub(crate) fn to_wire(self) -> u8 {
        Self::KNOWN
            .iter()
            .find(|(refusal, _)| *refusal == self)
            .map_or(0, |(_, number)| *number)
    }

    /// The refusal of a number; a reason of a later version is taken for `Denied`.
    pub(crate) fn from_wire(number: u8) -> Self {
        Self::KNOWN
            .iter()
            .find(|(_, known)| *known == number)
            .map_or(Self::Denied, |(refusal, _)| *refusal)
    }
}

impl RequestError {
    pub(crate) fn not_executed(failure: RequestFailure) -> Self {
        Self {
            failure,
            executed: Executed::No,
        }
    }
}

/// A request that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("request failed")]
pub struct RequestError {
    /// What happened.
    #[source]
    pub failure: RequestFailure,
    /// Whether the peer can have executed it.
    pub executed: Executed,
}

/// What happened to a request that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// There was no connection to send it on.
    #[error("cannot connect")]
    Dial(#[source] DialError),
    /// The peer refused it.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// No answer within the request's timeout.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection or the stream ended before the answer.
    #[error("interrupted")]
    Interrupted(#[source] StreamError),
    /// Request or answer is longer than the limit.
    #[error("message is longer than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The peer answered with something else than an answer.
    #[error("malformed answer")]
    Malformed,
    /// This node is shutting down.
    #[error("shutting down")]
    ShuttingDown,
}
