//! What the layers above see of the nodes at the other ends.

use std::net::SocketAddr;
use std::time::Duration;

use macula_core::{Addresses, Contact, NodeId};

use crate::Traffic;

/// What a node is to the network, as its hello says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Listens, can be dialled, and serves the network.
    Server,
    /// Only dials.
    Client,
}

/// A connected node whose hello was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its proved identity.
    pub node_id: NodeId,
    /// What it says it is.
    pub role: Role,
    /// Where it can be dialled: only addresses at which we have reached it ourselves.
    pub addresses: Addresses,
    /// The current estimate of the round-trip time.
    pub rtt: Duration,
    /// Whether we opened the connection that requests would take.
    pub outbound: bool,
}

/// One connection with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerConnection {
    /// Tells it apart from every other connection of this endpoint; its events carry it.
    pub number: u64,
    /// The peer's proved identity.
    pub node_id: NodeId,
    /// What the peer says it is.
    pub role: Role,
    /// Whether we opened it.
    pub outbound: bool,
    /// Where the peer's packets come from.
    pub address: SocketAddr,
    /// The current estimate of the round-trip time.
    pub rtt: Duration,
    /// What went over it; none if the transport does not count.
    pub traffic: Option<Traffic>,
}

/// What happened between this node and a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// The first connection to a peer came about, in either direction.
    Connected(Peer),
    /// A `Server` peer answered where we dialled it.
    Reached(Contact),
    /// The last connection to a peer ended.
    Disconnected(NodeId),
    /// A peer has disconnected with the word that it shuts down: dialling it is in vain.
    Departed(NodeId),
    /// A peer was taken for dead and is disconnected: it left every request and ping unanswered.
    Lost(NodeId),
}
