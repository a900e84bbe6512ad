//! The events of a connection's life, for `tracing`. Their names, targets and fields are stable;
//! [`Endpoint`](crate::Endpoint) lists them.

use std::net::SocketAddr;
use std::time::Duration;

use macula_core::{DialTarget, HostPort, NodeId};
use tracing::Span;

use super::link::Link;
use super::node::Node;
use super::reject::Rejection;
use crate::{CloseCode, Connection, ConnectionError, DialError, StreamError};

/// The target of all of them.
const TARGET: &str = "macula_transport::endpoint";

pub(super) fn started(node: &Node) {
    tracing::info!(
        name: "endpoint.started",
        target: TARGET,
        node = %node.transport.node_id(),
        realm = %node.config.realm,
        role = ?node.config.role,
        "endpoint started"
    );
}

pub(super) fn shut_down(node: &Node) {
    let node = node.transport.node_id();
    tracing::info!(name: "endpoint.shut_down", target: TARGET, %node, "endpoint shut down");
}

/// Requests are still being handled when a drain is over.
pub(super) fn drain_overdue(node: &Node) {
    tracing::warn!(
        name: "endpoint.drain_overdue",
        target: TARGET,
        node = %node.transport.node_id(),
        in_flight = node.dispatch.in_flight(),
        "drained not in time"
    );
}

/// One dial, from its waiting for room to its hello.
pub(super) fn dial_span(dial: u64, to: &DialTarget) -> Span {
    tracing::debug_span!(target: TARGET, "dial", dial, %to)
}

pub(super) fn dial_begun(dial: u64, to: &DialTarget) {
    tracing::debug!(name: "dial.begun", target: TARGET, dial, %to, "dial begun");
}

pub(super) fn dial_succeeded(dial: u64, link: &Link, took: Duration) {
    tracing::debug!(
        name: "dial.succeeded",
        target: TARGET,
        dial,
        connection = link.number,
        peer = %link.node_id().short(),
        ?took,
        "dial succeeded"
    );
}

/// A host was dialled without knowing who is there.
pub(super) fn first_use(host: &HostPort, peer: &NodeId) {
    tracing::info!(name: "dial.first_use", target: TARGET, %host, %peer, "identity taken on first use");
}

pub(super) fn dial_failed(dial: u64, to: &DialTarget, error: &DialError, took: Duration) {
    tracing::debug!(name: "dial.failed", target: TARGET, dial, %to, %error, ?took, "dial failed");
}

pub(super) fn opened(link: &Link) {
    tracing::debug!(
        name: "connection.opened",
        target: TARGET,
        connection = link.number,
        peer = %link.node_id().short(),
        address = %link.connection.remote_address(),
        outbound = link.outbound,
        role = ?link.hello.role,
        "connection opened"
    );
}

/// Why this node closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// It made room for another.
    Evicted,
    /// The peer has too many.
    Displaced,
    /// The peer does not answer on it.
    Unresponsive,
    /// Idle for too long.
    Released,
    /// This node shuts down, or its last handle has gone.
    Shutdown,
}

impl Closing {
    fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Displaced => "displaced",
            Self::Unresponsive => "unresponsive",
            Self::Released => "released",
            Self::Shutdown => "shutdown",
        }
    }
}

pub(super) fn closed(link: &Link, why: Closing, code: CloseCode) {
    let traffic = link.connection.traffic();
    tracing::debug!(
        name: "connection.closed",
        target: TARGET,
        connection = link.number,
        peer = %link.node_id().short(),
        reason = why.name(),
        %code,
        bytes_sent = traffic.map(|traffic| traffic.bytes_sent),
        bytes_received = traffic.map(|traffic| traffic.bytes_received),
        packets_lost = traffic.map(|traffic| traffic.packets_lost),
        "connection closed"
    );
}

pub(super) fn ended(link: &Link, error: ConnectionError) {
    let traffic = link.connection.traffic();
    tracing::debug!(
        name: "connection.ended",
        target: TARGET,
        connection = link.number,
        peer = %link.node_id().short(),
        %error,
        bytes_sent = traffic.map(|traffic| traffic.bytes_sent),
        bytes_received = traffic.map(|traffic| traffic.bytes_received),
        packets_lost = traffic.map(|traffic| traffic.packets_lost),
        "connection ended"
    );
}

pub(super) fn unresponsive(link: &Link) {
    tracing::warn!(
        name: "connection.unresponsive",
        target: TARGET,
        connection = link.number,
        peer = %link.node_id().short(),
        "peer does not answer"
    );
}

/// A connection that is used only so that it stays.
pub(super) fn keep_alive_unanswered(link: &Link) {
    tracing::debug!(
        name: "connection.keep_alive_unanswered",
        target: TARGET,
        connection = link.number,
        peer = %link.node_id().short(),
        "keep-alive is not answered"
    );
}

/// A long reply that has a stream of its own.
pub(super) fn reply_stalled(link: &Link) {
    tracing::debug!(
        name: "reply.stalled",
        target: TARGET,
        connection = link.number,
        peer = %link.node_id().short(),
        "peer does not take a long reply"
    );
}

/// The same when the peer or the network ended the stream.
pub(super) fn reply_broken(link: &Link, error: StreamError) {
    tracing::debug!(
        name: "reply.broken",
        target: TARGET,
        connection = link.number,
        peer = %link.node_id().short(),
        %error,
        "long reply was not sent"
    );
}

pub(super) fn probe_succeeded(link: &Link, address: SocketAddr) {
    tracing::debug!(
        name: "probe.succeeded",
        target: TARGET,
        connection = link.number,
        peer = %link.node_id().short(),
        %address,
        "peer can be dialled back"
    );
}

pub(super) fn probe_failed(link: &Link, address: SocketAddr) {
    tracing::debug!(
        name: "probe.failed",
        target: TARGET,
        connection = link.number,
        peer = %link.node_id().short(),
        %address,
        "peer cannot be dialled back"
    );
}

/// A peer has reached us at an address that we did not know to be ours.
pub(super) fn address_proved(address: SocketAddr, peer: &NodeId) {
    tracing::info!(
        name: "address.proved",
        target: TARGET,
        %address,
        peer = %peer.short(),
        "own address proved"
    );
}

pub(super) fn rejected(connection: &dyn Connection, why: Rejection) {
    tracing::debug!(
        name: "connection.rejected",
        target: TARGET,
        peer = %connection.peer().short(),
        address = %connection.remote_address(),
        reason = why.name(),
        "connection rejected"
    );
}
