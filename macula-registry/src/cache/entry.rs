//! What is known of one name, and until when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use macula_core::{NodeId, Provider};
use tokio::time::Instant;

use super::Look;

/// Providers with the time each still counts, in the order of the answer; none: nobody provides.
pub(crate) type Discovered = Vec<(Provider, Duration)>;

/// How long to keep an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// As fresh.
    pub(crate) fresh: Duration,
    /// As stale, after that.
    pub(crate) stale: Duration,
}

/// An answer and its times.
///
/// Invariant: as many expiries as providers; `fresh_until ≤ gone_at`; nothing is served at or
/// after its expiry.
///
/// Fresh until `fresh_until`, then stale until `gone_at`. An entry with a provider that has
/// expired has to be trimmed before it is served; it is stale then, because `fresh_until` is
/// never beyond the first expiry.
#[derive(Debug)]
pub(super) struct Entry {
    providers: Arc<[Provider]>,
    expiries: Box<[Instant]>,
    first_expiry: Option<Instant>,
    stored_at: Instant,
    fresh_until: Instant,
    gone_at: Instant,
    refresh_from: Instant,
    was_used: AtomicBool,
}

impl Entry {
    /// Leaves out what has no time left. Nobody to remember is remembered as fresh only.
    pub(super) fn new(now: Instant, discovered: Discovered, keep: Keep) -> Self {
        let is_absence = discovered.is_empty();
        let (providers, expiries): (Vec<_>, Vec<_>) = discovered
            .into_iter()
            .filter(|(_, life)| !life.is_zero())
            .map(|(provider, life)| (provider, now + life.min(LONGEST_LIFE)))
            .unzip();
        let first_expiry = expiries.iter().min().copied();
        let last_expiry = expiries.iter().max().copied();
        let fresh_end = now + keep.fresh.min(LONGEST_LIFE);
        let stale = if is_absence {
            Duration::ZERO
        } else {
            keep.stale
        };
        let gone_at = fresh_end + stale.min(LONGEST_LIFE);
        let nothing_left = if is_absence { gone_at } else { now };
        Self {
            providers: providers.into(),
            expiries: expiries.into(),
            first_expiry,
            stored_at: now,
            fresh_until: fresh_end.min(first_expiry.unwrap_or(nothing_left)),
            gone_at: gone_at.min(last_expiry.unwrap_or(nothing_left)),
            refresh_from: now,
            was_used: AtomicBool::new(false),
        }
    }

    /// What to answer; `None` if it has to be trimmed first.
    pub(super) fn look(&self, now: Instant, max_age: Option<Duration>) -> Option<Look> {
        if self.is_gone(now) {
            return Some(Look::Miss);
        }
        if self.first_expiry.is_some_and(|expiry| expiry <= now) {
            return None;
        }
        self.mark_used();
        let age = now.saturating_duration_since(self.stored_at);
        let is_fresh = now < self.fresh_until && max_age.is_none_or(|max_age| age < max_age);
        let providers = || Arc::clone(&self.providers);
        Some(match (is_fresh, self.providers.is_empty()) {
            (true, true) => Look::Absent,
            (false, true) => Look::Miss,
            (true, false) => Look::Fresh(providers()),
            (false, false) => Look::Stale {
                providers: providers(),
                refresh_due: self.refresh_from <= now,
            },
        })
    }

    pub(super) fn is_gone(&self, now: Instant) -> bool {
        self.gone_at <= now
    }

    pub(super) fn defer_refresh(&mut self, until: Instant) {
        self.refresh_from = until;
    }

    /// Drops the providers whose time is over.
    pub(super) fn trim(&mut self, now: Instant) {
        self.retain(|_, expiry| expiry > now);
    }

    /// Drops a provider; answers whether it was there.
    pub(super) fn remove(&mut self, node_id: &NodeId) -> bool {
        let before = self.providers.len();
        self.retain(|provider, _| provider.node_id() != *node_id);
        self.providers.len() < before
    }

    /// Whether a node is one of the providers.
    pub(super) fn names(&self, node_id: &NodeId) -> bool {
        self.providers.iter().any(|p| p.node_id() == *node_id)
    }

    /// Whether providers were known and none is left.
    pub(super) fn is_used_up(&self) -> bool {
        self.providers.is_empty() && self.first_expiry.is_some()
    }

    /// How much of the capacity it takes.
    pub(super) fn weight(&self) -> usize {
        self.providers.len().max(1)
    }

    /// Whether it was looked at since this was last asked.
    pub(super) fn take_used(&self) -> bool {
        self.was_used.swap(false, Ordering::Relaxed)
    }

    fn mark_used(&self) {
        // Written only when it changes, so that hits do not take the cache line from each other.
        if !self.was_used.load(Ordering::Relaxed) {
            self.was_used.store(true, Ordering::Relaxed);
        }
    }

    fn retain(&mut self, keeps: impl Fn(&Provider, Instant) -> bool) {
        let kept = self.providers.iter().zip(&self.expiries);
        let kept = kept.filter(|(provider, expiry)| keeps(provider, **expiry));
        let (providers, expiries): (Vec<_>, Vec<_>) = kept
            .map(|(provider, expiry)| (provider.clone(), *expiry))
            .unzip();
        if providers.len() == self.providers.len() {
            return;
        }
        if let Some(first) = expiries.iter().min() {
            self.first_expiry = Some(*first);
        }
        if let Some(last) = expiries.iter().max() {
            self.gone_at = self.gone_at.min(*last);
        }
        self.providers = providers.into();
        self.expiries = expiries.into();
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.providers.len(), self.expiries.len());
        assert!(self.fresh_until <= self.gone_at || self.is_used_up());
        assert!(self.expiries.iter().all(|e| Some(*e) >= self.first_expiry));
        assert!(self.expiries.is_empty() || self.expiries.iter().any(|e| *e >= self.gone_at));
    }
}

/// Longer than any record may live; keeps sums of instants in range whatever is configured.
const LONGEST_LIFE: Duration = Duration::from_secs(48 * 60 * 60);
