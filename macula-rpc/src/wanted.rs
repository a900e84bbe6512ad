//! Which providers a call may go to.

use std::collections::BTreeSet;
use std::sync::Arc;

use macula_core::{Metadata, NodeId};

/// Which of a service's providers a call may go to; all of them by default.
///
/// A record proves who provides a service, not that it may: in a realm that is open to strangers
/// whoever calls can name the nodes that are trusted with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// These nodes; any when there is no list.
    pub nodes: Option<Arc<BTreeSet<NodeId>>>,
    /// Those whose metadata has all of these entries.
    pub metadata: Metadata,
}

impl Wanted {
    /// Whether a provider that says this about itself may be called.
    pub fn admits(&self, node_id: &NodeId, metadata: &Metadata) -> bool {
        let is_listed = |nodes: &Arc<BTreeSet<NodeId>>| nodes.contains(node_id);
        let mut entries = self.metadata.iter();
        self.nodes.as_ref().is_none_or(is_listed)
            && entries.all(|(key, value)| metadata.value(key) == Some(value))
    }
}
