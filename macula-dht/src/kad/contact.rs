//! A contact and where in the keyspace it is.

use std::ops::Deref;
use std::sync::Arc;

use macula_core::{Contact, Key};

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

    /// A contact at any point, which no node id has to be found for.
    #[cfg(test)]
    pub(super) fn at(key: Key, contact: Contact) -> Self {
        Self(Arc::new(Placed { contact, key }))
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
