//! The discovery cache: who provides which name, as far as was found out lately.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use macula_core::{NodeId, Provider, ServiceName};
use tokio::time::Instant;

mod entry;
mod shard;

pub(crate) use entry::{Discovered, Keep};
use shard::Shard;

/// Shards of entries behind a lock each, so that hits on different names rarely meet.
///
/// A hit hashes twice, takes a shared lock and a reference count, and allocates nothing.
pub(crate) struct Cache {
    shards: Box<[RwLock<Shard>]>,
}

/// What the cache knows of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// An answer that is young enough.
    Fresh(Arc<[Provider]>),
    /// An answer to make do with, and whether a newer one should be looked for now.
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
    /// An empty cache for so many providers, of which one name has at most `want`.
    pub(crate) fn new(capacity: NonZeroUsize, want: NonZeroUsize) -> Self {
        let smallest = SMALLEST_SHARD.max(want.get());
        let shards = (capacity.get() / smallest).clamp(1, MAX_SHARDS);
        let per_shard = capacity.get() / shards;
        Self {
            shards: (0..shards)
                .map(|_| RwLock::new(Shard::new(per_shard)))
                .collect(),
        }
    }

    /// What is known of a name; what is older than `max_age` is not fresh.
    pub(crate) fn look(&self, now: Instant, name: &ServiceName, max_age: Option<Duration>) -> Look {
        let shard = self.shard(name);
        if let Some(look) = read(shard).look(now, name, max_age) {
            return look;
        }
        let mut shard = write(shard);
        shard.trim(now, name);
        shard.look(now, name, max_age).unwrap_or(Look::Miss)
    }

    /// Replaces what is known of a name; answers how many entries had to make room.
    pub(crate) fn insert(
        &self,
        now: Instant,
        name: &ServiceName,
        discovered: Discovered,
        keep: Keep,
    ) -> usize {
        write(self.shard(name)).insert(now, name, discovered, keep)
    }

    /// Lets a stale entry be served without a refresh for a while, after one that failed.
    pub(crate) fn defer_refresh(&self, name: &ServiceName, until: Instant) {
        write(self.shard(name)).defer_refresh(name, until);
    }

    /// Removes one provider of a name.
    pub(crate) fn remove_provider(&self, name: &ServiceName, node_id: &NodeId) -> bool {
        write(self.shard(name)).remove_provider(name, node_id)
    }

    /// Removes a provider under every name; answers under how many it was.
    pub(crate) fn forget(&self, node_id: &NodeId) -> usize {
        self.shards.iter().map(|s| write(s).forget(node_id)).sum()
    }

    /// Removes every entry whose time is over; answers how many.
    pub(crate) fn prune(&self, now: Instant) -> usize {
        self.shards.iter().map(|s| write(s).prune(now)).sum()
    }

    /// Removes every entry.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            write(shard).clear();
        }
    }

    /// How many names are cached.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    fn shard(&self, name: &ServiceName) -> &RwLock<Shard> {
        // Without a key of its own, so that the same names evict each other in every run.
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let index = hasher.finish() % self.shards.len() as u64;
        &self.shards[usize::try_from(index).unwrap_or(0)]
    }
}

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

/// The most shards.
const MAX_SHARDS: usize = 16;

/// The fewest providers that are worth a shard.
const SMALLEST_SHARD: usize = 256;
