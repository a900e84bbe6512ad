//! The side of the cache that changes it.

use std::sync::MutexGuard;

use macula_core::{NodeId, Provider, ServiceName};
use tokio::time::Instant;

use super::Entries;
use super::entry::Entry;
use super::ring::Ring;
use crate::RegistryEvent;
use crate::event::Events;

/// Changes the cache, one at a time.
///
/// Entries are replaced as a whole, so that whoever looks meanwhile finds the one or the other.
/// What happens to providers is told before the next change, so that it is heard in order.
pub(super) struct Writer<'a> {
    entries: &'a Entries,
    ring: MutexGuard<'a, Ring>,
    events: &'a Events,
}

/// How many entries an insertion removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Because room was needed.
    pub(crate) evicted: usize,
    /// Because their time was over when room was needed.
    pub(crate) expired: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        entries: &'a Entries,
        ring: MutexGuard<'a, Ring>,
        events: &'a Events,
    ) -> Self {
        Self {
            entries,
            ring,
            events,
        }
    }

    pub(super) fn insert(&mut self, now: Instant, name: &ServiceName, entry: Entry) -> Removed {
        if entry.is_gone(now) || entry.weight() > self.ring.capacity {
            self.remove(name);
            return Removed::default();
        }
        self.put(name, entry);
        self.make_room(now, name)
    }

    /// Drops the providers of a name whose time is over, and the entry with the last of them.
    pub(super) fn trim(&mut self, now: Instant, name: &ServiceName) {
        let entries = self.entries.pin();
        if let Some(entry) = entries.get(name).filter(|entry| entry.is_overgrown(now)) {
            self.put_or_remove(name, entry.trimmed(now));
        }
    }

    /// Drops one provider of a name, and the entry with the last of them.
    pub(super) fn remove_provider(
        &mut self,
        name: &ServiceName,
        node_id: &NodeId,
        up_to_seq: u64,
    ) -> bool {
        let entries = self.entries.pin();
        let Some(entry) = entries.get(name) else {
            return false;
        };
        let is_meant = entry.seq_of(node_id).is_some_and(|seq| seq <= up_to_seq);
        if is_meant {
            self.put_or_remove(name, entry.without(node_id));
        }
        is_meant
    }

    /// Drops a provider under every name; answers under which, and the numbers of its records.
    pub(super) fn forget(&mut self, node_id: &NodeId) -> Vec<(ServiceName, u64)> {
        let entries = self.entries.pin();
        let record = |name: &ServiceName| Some((name.clone(), entries.get(name)?.seq_of(node_id)?));
        let records: Vec<_> = self.ring.slots.iter().filter_map(record).collect();
        for (name, seq) in &records {
            self.remove_provider(name, node_id, *seq);
        }
        records
    }

    pub(super) fn prune(&mut self, now: Instant) -> usize {
        let entries = self.entries.pin();
        let before = self.ring.slots.len();
        let mut slot = 0;
        while let Some(name) = self.ring.slots.get(slot).cloned() {
            if entries.get(&name).is_none_or(|entry| entry.is_gone(now)) {
                // Another name has this slot now.
                self.remove(&name);
            } else {
                self.trim(now, &name);
                slot += 1;
            }
        }
        before - self.ring.slots.len()
    }

    pub(super) fn clear(&mut self) {
        self.entries.pin().clear();
        self.ring.clear();
    }

    /// Goes round at most twice, as the first round takes every second chance away. What was put
    /// in just now stays.
    fn make_room(&mut self, now: Instant, newest: &ServiceName) -> Removed {
        let entries = self.entries.pin();
        let mut removed = Removed::default();
        while self.ring.is_overfull() {
            let Some(name) = self.ring.candidate() else {
                break;
            };
            let Some(entry) = entries.get(&name).filter(|_| name != *newest) else {
                self.ring.advance();
                continue;
            };
            if entry.is_gone(now) {
                self.remove(&name);
                removed.expired += 1;
            } else if !entry.take_used() {
                self.drop_entry(&name);
                removed.evicted += 1;
            }
            // Past whoever was given the slot, which is the newest as a rule.
            self.ring.advance();
        }
        removed
    }

    fn put_or_remove(&mut self, name: &ServiceName, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.put(name, entry),
            None => self.remove(name),
        }
    }

    /// Puts an entry in the place of the one before.
    fn put(&mut self, name: &ServiceName, entry: Entry) {
        let entries = self.entries.pin();
        self.ring.weight += entry.weight();
        let before: &[Provider] = match entries.get(name) {
            Some(before) => {
                self.ring.weight -= before.weight();
                entry.take_place_of(before);
                before.providers()
            }
            None => {
                entry.move_to(self.ring.add(name.clone()));
                &[]
            }
        };
        self.tell_difference(name, before, entry.providers());
        entries.insert(name.clone(), entry);
    }

    /// Removes an entry whose providers are gone with it.
    fn remove(&mut self, name: &ServiceName) {
        if let Some(entry) = self.entries.pin().get(name) {
            self.tell_difference(name, entry.providers(), &[]);
        }
        self.drop_entry(name);
    }

    fn drop_entry(&mut self, name: &ServiceName) {
        let entries = self.entries.pin();
        let Some(entry) = entries.remove(name) else {
            return;
        };
        self.ring.weight -= entry.weight();
        let slot = entry.slot();
        let moved = self.ring.remove(slot).and_then(|name| entries.get(name));
        if let Some(moved) = moved {
            moved.move_to(slot);
        }
    }

    fn tell_difference(&self, name: &ServiceName, before: &[Provider], after: &[Provider]) {
        if !self.events.are_heard() {
            return;
        }
        for provider in missing_from(after, before) {
            let service = name.clone();
            self.events
                .tell(RegistryEvent::ProviderLeft { service, provider });
        }
        for provider in missing_from(before, after) {
            let service = name.clone();
            self.events
                .tell(RegistryEvent::ProviderAppeared { service, provider });
        }
    }
}

/// Those of `providers` who are not among `others`. Both are short.
fn missing_from<'a>(
    others: &'a [Provider],
    providers: &'a [Provider],
) -> impl Iterator<Item = NodeId> + 'a {
    let nodes = providers.iter().map(Provider::node_id);
    nodes.filter(|node_id| !others.iter().any(|other| other.node_id() == *node_id))
}
