//! Which providers a call may go to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use macula_core::{Metadata, NodeId, ServiceName};
use tokio::time::Instant;

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

/// When a lookup for calls that want none of the providers known last had an answer.
///
/// While nobody meets what is wanted every such call would look again, past the cache.
#[derive(Debug, Default)]
pub(crate) struct Looked(Mutex<Option<(ServiceName, Instant)>>);

impl Looked {
    /// The service was looked up, with an answer.
    pub(crate) fn note(&self, now: Instant, service: &ServiceName) {
        *self.last() = Some((service.clone(), now));
    }

    /// Whether that was so lately that looking again would tell nothing new.
    pub(crate) fn lately(&self, now: Instant, service: &ServiceName) -> bool {
        let is_young = |at: Instant| now.saturating_duration_since(at) < NOBODY_WANTED;
        let last = self.last();
        last.as_ref()
            .is_some_and(|(name, at)| name == service && is_young(*at))
    }

    fn last(&self) -> MutexGuard<'_, Option<(ServiceName, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long "nobody who is wanted provides it" counts, as the registry's "nobody provides it" does.
const NOBODY_WANTED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId::from_bytes([seed; 32])
    }

    fn metadata(pairs: &BTreeSet<(u8, u8)>) -> Metadata {
        let mut metadata = Metadata::new();
        for (key, value) in pairs {
            let (key, value) = (format!("key{key}"), value.to_string());
            metadata.insert(key, value).unwrap();
        }
        metadata
    }

    #[test]
    fn what_was_looked_up_a_moment_ago_is_not_looked_up_again() {
        let (now, looked) = (Instant::now(), Looked::default());
        let [one, other] = ["app.f", "app.g"].map(|name| name.parse::<ServiceName>().unwrap());
        assert!(!looked.lately(now, &one));
        looked.note(now, &one);
        assert!(looked.lately(now, &one) && !looked.lately(now, &other));
        assert!(!looked.lately(now + NOBODY_WANTED, &one));
    }

    #[test]
    fn whoever_names_nobody_wants_nobody() {
        let wanted = Wanted {
            nodes: Some(Arc::default()),
            ..Wanted::default()
        };
        assert!(!wanted.admits(&node(1), &Metadata::new()));
        assert!(Wanted::default().admits(&node(1), &Metadata::new()));
    }

    proptest! {
        #[test]
        fn those_are_wanted_who_are_named_and_say_all_of_it(
            named in prop::option::of(prop::collection::btree_set(0_u8..4, 0..4)),
            asked in prop::collection::btree_set((0_u8..3, 0_u8..2), 0..3),
            said in prop::collection::btree_set((0_u8..3, 0_u8..2), 0..4),
            seed in 0_u8..4,
        ) {
            let nodes = |seeds: &BTreeSet<u8>| Arc::new(seeds.iter().copied().map(node).collect());
            let wanted = Wanted {
                nodes: named.as_ref().map(nodes),
                metadata: metadata(&asked),
            };
            let said = metadata(&said);
            let is_named = named.is_none_or(|seeds| seeds.contains(&seed));
            let said_pairs: Vec<_> = said.iter().collect();
            let says_all = wanted.metadata.iter().all(|pair| said_pairs.contains(&pair));
            prop_assert_eq!(wanted.admits(&node(seed), &said), is_named && says_all);
        }
    }
}
