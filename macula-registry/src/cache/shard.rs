//! One shard of the cache: a bounded map with second-chance eviction, without lock or clock.

use std::collections::HashMap;
use std::time::Duration;

use macula_core::{NodeId, ServiceName};
use tokio::time::Instant;

use super::entry::Entry;
use super::{Discovered, Keep, Look};

#[cfg(test)]
mod tests;

/// Entries by name, together at most `capacity` heavy.
///
/// Invariant: `index` maps the name in each slot to that slot and nothing else; `weight` is the
/// sum of the entries' weights.
///
/// When room is needed a hand goes round the slots: what was looked at since the hand last came
/// by gets another round, the rest goes (the CLOCK algorithm, an LRU whose hits write one bit).
#[derive(Debug)]
pub(super) struct Shard {
    capacity: usize,
    weight: usize,
    index: HashMap<ServiceName, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    name: ServiceName,
    entry: Entry,
}

impl Shard {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            weight: 0,
            index: HashMap::new(),
            slots: Vec::new(),
            hand: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What is known of a name; `None` if its entry has to be trimmed first.
    pub(super) fn look(
        &self,
        now: Instant,
        name: &ServiceName,
        max_age: Option<Duration>,
    ) -> Option<Look> {
        match self.index.get(name) {
            Some(at) => self.slots[*at].entry.look(now, max_age),
            None => Some(Look::Miss),
        }
    }

    /// Drops the providers of a name whose time is over, and the entry with the last of them.
    pub(super) fn trim(&mut self, now: Instant, name: &ServiceName) {
        self.change(name, |entry| entry.trim(now));
    }

    /// Drops one provider of a name, and the entry with the last of them.
    pub(super) fn remove_provider(&mut self, name: &ServiceName, node_id: &NodeId) -> bool {
        self.change(name, |entry| entry.remove(node_id))
            .unwrap_or(false)
    }

    /// Drops a provider under every name; answers under how many it was.
    pub(super) fn forget(&mut self, node_id: &NodeId) -> usize {
        let names: Vec<ServiceName> = self
            .slots
            .iter()
            .filter(|slot| slot.entry.names(node_id))
            .map(|slot| slot.name.clone())
            .collect();
        for name in &names {
            self.remove_provider(name, node_id);
        }
        names.len()
    }

    pub(super) fn defer_refresh(&mut self, name: &ServiceName, until: Instant) {
        self.change(name, |entry| entry.defer_refresh(until));
    }

    /// Replaces what is known of a name; answers how many entries had to make room.
    ///
    /// An answer that would never be served is not kept.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        name: &ServiceName,
        discovered: Discovered,
        keep: Keep,
    ) -> usize {
        if let Some(at) = self.index.get(name) {
            self.remove(*at);
        }
        let entry = Entry::new(now, discovered, keep);
        if entry.is_gone(now) || entry.weight() > self.capacity {
            return 0;
        }
        let evicted = self.make_room(now, entry.weight());
        self.weight += entry.weight();
        self.index.insert(name.clone(), self.slots.len());
        self.slots.push(Slot {
            name: name.clone(),
            entry,
        });
        evicted
    }

    /// Drops every entry whose time is over; answers how many.
    pub(super) fn prune(&mut self, now: Instant) -> usize {
        let before = self.slots.len();
        let mut at = 0;
        while at < self.slots.len() {
            if self.slots[at].entry.is_gone(now) {
                self.remove(at);
            } else {
                at += 1;
            }
        }
        before - self.slots.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// Goes round at most twice: the first round takes every second chance away.
    fn make_room(&mut self, now: Instant, weight: usize) -> usize {
        let mut evicted = 0;
        while self.weight + weight > self.capacity && !self.slots.is_empty() {
            self.hand %= self.slots.len();
            let entry = &self.slots[self.hand].entry;
            if entry.is_gone(now) {
                self.remove(self.hand);
            } else if entry.take_used() {
                self.hand += 1;
            } else {
                self.remove(self.hand);
                evicted += 1;
            }
        }
        evicted
    }

    fn change<T>(&mut self, name: &ServiceName, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let at = *self.index.get(name)?;
        let entry = &mut self.slots[at].entry;
        let before = entry.weight();
        let result = change(entry);
        self.weight = self.weight - before + entry.weight();
        if entry.is_used_up() {
            self.remove(at);
        }
        Some(result)
    }

    fn remove(&mut self, at: usize) {
        let slot = self.slots.swap_remove(at);
        self.weight -= slot.entry.weight();
        self.index.remove(&slot.name);
        if let Some(moved) = self.slots.get(at) {
            self.index.insert(moved.name.clone(), at);
        }
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        assert_eq!(self.index.len(), self.slots.len());
        for (at, slot) in self.slots.iter().enumerate() {
            assert_eq!(self.index.get(&slot.name), Some(&at));
            slot.entry.check_invariants();
        }
        let weight: usize = self.slots.iter().map(|s| s.entry.weight()).sum();
        assert_eq!(weight, self.weight);
        assert!(weight <= self.capacity);
    }
}
