//! What an endpoint has counted.

/// Counters of an [`Endpoint`](crate::Endpoint) since its start, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Connections held now.
    pub connections: usize,
    /// Requests of peers being handled now.
    pub inbound_in_flight: usize,
    /// Dials begun, probes excluded.
    pub dials: u64,
    /// Dials that came to nothing.
    pub dial_failures: u64,
    /// Connections from peers whose hello was accepted.
    pub accepted: u64,
    /// Probes of peers' addresses begun.
    pub probes: u64,
    /// Probes that reached the peer.
    pub probes_succeeded: u64,
    /// Connections from peers that were refused for their realm.
    pub refused_wrong_realm: u64,
    /// Connections from peers that were refused for their protocol version.
    pub refused_wrong_version: u64,
    /// Connections from peers that were refused for a hello nobody can read.
    pub refused_malformed: u64,
    /// Connections from peers that said no hello in time.
    pub refused_silent: u64,
    /// Connections from peers that found no room.
    pub refused_full: u64,
    /// Requests sent.
    pub requests_sent: u64,
    /// Requests of peers that were handed to a handler.
    pub requests_handled: u64,
    /// Requests of peers that were refused as overload.
    pub requests_overloaded: u64,
    /// Requests of peers that nobody can read.
    pub requests_malformed: u64,
    /// Requests of peers that were given up, by the peer or by their deadline.
    pub requests_cancelled: u64,
    /// Idle connections closed to make room.
    pub evictions: u64,
    /// Connections closed because they were idle for too long.
    pub idle_closed: u64,
}
