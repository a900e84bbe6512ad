//! How much was sent, and what of it got through.

use serde::Serialize;

/// Counts of messages and of what happened to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Requests sent.
    pub requests: u64,
    /// Those of them that only ask whether a contact still lives.
    pub pings: u64,
    /// Answers sent.
    pub responses: u64,
    /// Dials of bootstrap peers and former contacts.
    pub dials: u64,
    /// Messages lost on the way.
    pub lost: u64,
    /// Messages of which a second copy was delivered. They count once as sent.
    pub duplicated: u64,
    /// Messages that arrived at a dead node.
    pub to_the_dead: u64,
}
