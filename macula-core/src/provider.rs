//! A provider as callers see it.

use crate::{Addresses, Contact, Delivery, Metadata, NodeId, ProviderRecord};

/// A verified claim to a service, seen by those who call it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    record: ProviderRecord,
}

impl Provider {
    /// Who provides.
    pub fn node_id(&self) -> NodeId {
        self.record.provider()
    }

    /// Where to dial; empty when the provider answers only over a connection it opened itself.
    pub fn addresses(&self) -> &Addresses {
        self.record.addresses()
    }

    /// Whom to dial, and where.
    pub fn contact(&self) -> Contact {
        self.record.contact()
    }

    /// What the provider says about itself.
    pub fn metadata(&self) -> &Metadata {
        self.record.metadata()
    }

    /// How often a call may be carried out.
    pub fn delivery(&self) -> Delivery {
        self.record.delivery()
    }

    /// Grows with every claim that the provider signs.
    pub fn seq(&self) -> u64 {
        self.record.seq()
    }
}

impl From<ProviderRecord> for Provider {
    fn from(record: ProviderRecord) -> Self {
        Self { record }
    }
}
