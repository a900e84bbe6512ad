//! A contact as the routing table knows it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use macula_core::{Contact, Key, NodeId};

/// A contact with its point, hashed once.
///
/// Clones share one allocation, so that many machines in one process can know the same node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedContact(Arc<Placed>);

#[derive(Debug, PartialEq, Eq)]
struct Placed {
    contact: Contact,
    key: Key,
}

impl PlacedContact {
    /// The contact's point.
    pub fn key(&self) -> &Key {
        &self.0.key
    }
}

impl From<Contact> for PlacedContact {
    fn from(contact: Contact) -> Self {
        let key = Key::of_node(&contact.node_id);
        Self(Arc::new(Placed { contact, key }))
    }
}

impl Deref for PlacedContact {
    type Target = Contact;

    fn deref(&self) -> &Contact {
        &self.0.contact
    }
}

/// A contact that we have reached, and when it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownContact {
    /// The node and where we reached it.
    pub(super) contact: PlacedContact,
    /// When it was last reached or last answered.
    pub(super) last_seen: Instant,
    /// Requests it has not answered since then.
    pub(super) failures: u32,
}

impl KnownContact {
    pub(super) fn new(now: Instant, contact: PlacedContact) -> Self {
        Self {
            contact,
            last_seen: now,
            failures: 0,
        }
    }

    pub(super) fn node_id(&self) -> NodeId {
        self.contact.node_id
    }
}
