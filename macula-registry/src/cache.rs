//! The discovery cache: who provides which name, as far as was found out lately.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use foldhash::fast::RandomState;
use macula_core::{NodeId, Provider, ServiceName};
use papaya::HashMap;
use tokio::time::Instant;

mod entry;
mod ring;
mod writer;

#[cfg(test)]
mod tests;

use crate::event::Events;
pub(crate) use entry::{Discovered, Keep};
use entry::{Entry, Phase};
use ring::Ring;
pub(crate) use writer::Removed;
use writer::Writer;

/// Entries by name, together at most so heavy.
///
/// A hit hashes once, takes a reference count and allocates nothing. It reads a map that has no
/// locks, so it waits for nobody: who changes the cache holds a lock that hits do not touch.
pub(crate) struct Cache {
    entries: Entries,
    ring: Mutex<Ring>,
    events: Events,
}

type Entries = HashMap<ServiceName, Entry, RandomState>;

/// What the cache knows of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// An answer that is young enough.
    Fresh(Arc<[Provider]>),
    /// An answer to make do with. Who is told that its refresh is due is the only one for a
    /// while, and has to see to it.
    Stale {
        providers: Arc<[Provider]>,
        refresh_due: bool,
    },
    /// Nobody provides it, as was found out lately.
    Absent,
    /// Nothing.
    Miss,
}

impl Cache {
    /// An empty cache for so many providers, which says to `events` who comes and goes.
    pub(crate) fn new(capacity: NonZeroUsize, events: Events) -> Self {
        Self {
            entries: Entries::default(),
            ring: Mutex::new(Ring::new(capacity.get())),
            events,
        }
    }

    /// What is known of a name; what is older than `max_age` is not fresh.
    pub(crate) fn look(&self, now: Instant, name: &ServiceName, max_age: Option<Duration>) -> Look {
        let entries = self.entries.pin();
        let Some(entry) = entries.get(name) else {
            return Look::Miss;
        };
        match entry.phase(now, max_age) {
            Phase::Overgrown => self.look_trimmed(now, name, max_age),
            phase => entry.look(now, phase),
        }
    }

    /// Whether somebody is known to provide a name.
    pub(crate) fn has_providers(&self, now: Instant, name: &ServiceName) -> bool {
        let entries = self.entries.pin();
        let phase = entries.get(name).map(|entry| entry.phase(now, None));
        matches!(phase, Some(Phase::Fresh | Phase::Stale | Phase::Overgrown))
    }

    /// The number of the record by which a node is known to provide a name.
    pub(crate) fn seq_of(&self, name: &ServiceName, node_id: &NodeId) -> Option<u64> {
        self.entries.pin().get(name)?.seq_of(node_id)
    }

    /// Lets a stale entry be served without a refresh for a while, after one that failed: twice
    /// as long as after the failure before, at most `longest`.
    pub(crate) fn defer_refresh(&self, now: Instant, name: &ServiceName, longest: Duration) {
        if let Some(entry) = self.entries.pin().get(name) {
            entry.defer_refresh(now, longest);
        }
    }

    /// Replaces what is known of a name; answers what had to go for it.
    ///
    /// An answer that would never be served is not kept.
    pub(crate) fn insert(
        &self,
        now: Instant,
        name: &ServiceName,
        discovered: Discovered,
        keep: Keep,
    ) -> Removed {
        let entry = Entry::new(now, discovered, keep);
        self.write().insert(now, name, entry)
    }

    /// Removes one provider of a name, if its record is not newer than that.
    pub(crate) fn remove_provider(
        &self,
        name: &ServiceName,
        node_id: &NodeId,
        up_to_seq: u64,
    ) -> bool {
        self.write().remove_provider(name, node_id, up_to_seq)
    }

    /// Removes a provider under every name; answers under which it was.
    pub(crate) fn forget(&self, node_id: &NodeId) -> Vec<(ServiceName, u64)> {
        self.write().forget(node_id)
    }

    /// Removes every entry, and of the others every provider, whose time is over; answers how
    /// many entries.
    pub(crate) fn prune(&self, now: Instant) -> usize {
        self.write().prune(now)
    }

    /// Removes every entry.
    pub(crate) fn clear(&self) {
        self.write().clear();
    }

    /// How many names are cached.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is known of a name some of whose providers have expired.
    ///
    /// Trims the entry for those who come later, unless somebody else is changing the cache.
    #[cold]
    fn look_trimmed(&self, now: Instant, name: &ServiceName, max_age: Option<Duration>) -> Look {
        if let Some(mut writer) = self.try_write() {
            writer.trim(now, name);
        }
        let entries = self.entries.pin();
        let Some(entry) = entries.get(name) else {
            return Look::Miss;
        };
        match entry.phase(now, max_age) {
            Phase::Overgrown => entry.trimmed(now).map_or(Look::Miss, |trimmed| {
                // Claimed on what stays, or every one of those who look would refresh it.
                trimmed.look_for(entry, now, max_age)
            }),
            phase => entry.look(now, phase),
        }
    }

    fn write(&self) -> Writer<'_> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        Writer::new(&self.entries, ring, &self.events)
    }

    fn try_write(&self) -> Option<Writer<'_>> {
        let ring = match self.ring.try_lock() {
            Ok(ring) => ring,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Writer::new(&self.entries, ring, &self.events))
    }
}
