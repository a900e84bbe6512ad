//! A contact as the routing table knows it.

use std::time::Instant;

use macula_core::{Contact, Key, NodeId};

/// A contact that we have reached, and when it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownContact {
    /// The node and where we reached it.
    pub(super) contact: Contact,
    /// Its point, so that it is hashed once.
    pub(super) key: Key,
    /// When it was last reached or last answered.
    pub(super) last_seen: Instant,
    /// Requests it has not answered since then.
    pub(super) failures: u32,
}

impl KnownContact {
    pub(super) fn new(now: Instant, contact: Contact) -> Self {
        Self {
            key: Key::of_node(&contact.node_id),
            contact,
            last_seen: now,
            failures: 0,
        }
    }

    pub(super) fn node_id(&self) -> NodeId {
        self.contact.node_id
    }
}
