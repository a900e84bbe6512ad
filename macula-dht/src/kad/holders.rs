//! Who acknowledged this node's own claims.

use std::collections::BTreeMap;
use std::time::Instant;

use macula_core::{Contact, Key, NodeId};

/// Keys whose holders are remembered. A key beyond it is walked to on every refresh.
const MAX_KEYS: usize = 64 * 1024;

/// Refreshes go straight to the holders; withdrawals reach all that ever acknowledged.
#[derive(Debug, Clone, Default)]
pub(super) struct Holders {
    keys: BTreeMap<Key, Remembered>,
    max_per_key: usize,
}

#[derive(Debug, Clone)]
struct Remembered {
    /// Latest acknowledgement last.
    holders: Vec<Holder>,
    /// Whether we are among the closest ourselves.
    with_local: bool,
    walked_at: Instant,
    /// When no claim that they acknowledged can be alive any more.
    forget_at: Instant,
}

#[derive(Debug, Clone)]
struct Holder {
    contact: Contact,
    /// Whether it acknowledged when it was last told.
    is_current: bool,
}

impl Holders {
    /// Remembers up to `max_per_key` holders of each key.
    pub(super) fn new(max_per_key: usize) -> Self {
        Self {
            keys: BTreeMap::new(),
            max_per_key,
        }
    }

    /// Notes that a walk to the key has ended.
    pub(super) fn walked(&mut self, now: Instant, key: Key, with_local: bool) {
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(&key) {
            return;
        }
        let remembered = self.keys.entry(key).or_insert_with(|| Remembered {
            holders: Vec::new(),
            with_local,
            walked_at: now,
            forget_at: now,
        });
        remembered.walked_at = now;
        remembered.with_local = with_local;
        // The new walk decides who is told from now on.
        for holder in &mut remembered.holders {
            holder.is_current = false;
        }
    }

    /// Notes an acknowledgement of a claim that lives until `expires_at`.
    pub(super) fn acknowledged(&mut self, key: &Key, contact: &Contact, expires_at: Instant) {
        let max_per_key = self.max_per_key;
        let Some(remembered) = self.keys.get_mut(key) else {
            return;
        };
        remembered.forget_at = remembered.forget_at.max(expires_at);
        let holders = &mut remembered.holders;
        holders.retain(|holder| holder.contact.node_id != contact.node_id);
        if holders.len() == max_per_key {
            holders.remove(0);
        }
        holders.push(Holder {
            contact: contact.clone(),
            is_current: true,
        });
    }

    /// Notes that a holder did not acknowledge. It may still hold an older claim.
    pub(super) fn not_acknowledged(&mut self, key: &Key, node_id: &NodeId) {
        let holders = self.keys.get_mut(key).map(|found| &mut found.holders);
        for holder in holders.into_iter().flatten() {
            if holder.contact.node_id == *node_id {
                holder.is_current = false;
            }
        }
    }

    /// Forgets a holder that has left with all it held.
    pub(super) fn departed(&mut self, node_id: &NodeId) {
        for remembered in self.keys.values_mut() {
            let holders = &mut remembered.holders;
            holders.retain(|holder| holder.contact.node_id != *node_id);
        }
    }

    /// The holders that acknowledged when last told, and whether we are one; `None` when the last
    /// walk to the key was before `walked_since`.
    pub(super) fn current(
        &self,
        key: &Key,
        walked_since: Option<Instant>,
    ) -> Option<(Vec<Contact>, bool)> {
        let remembered = self.keys.get(key)?;
        if walked_since.is_some_and(|since| remembered.walked_at < since) {
            return None;
        }
        let current = remembered
            .holders
            .iter()
            .filter(|holder| holder.is_current)
            .map(|holder| holder.contact.clone())
            .collect();
        Some((current, remembered.with_local))
    }

    /// All that may hold one of our claims to the key.
    pub(super) fn all(&self, key: &Key) -> Vec<Contact> {
        self.keys.get(key).map_or_else(Vec::new, |remembered| {
            let holders = remembered.holders.iter();
            holders.map(|holder| holder.contact.clone()).collect()
        })
    }

    /// Forgets keys whose claims are over.
    pub(super) fn prune(&mut self, now: Instant) {
        self.keys.retain(|_, remembered| remembered.forget_at > now);
    }
}
