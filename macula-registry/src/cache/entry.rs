//! What is known of one name, and until when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
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

/// An answer and its times. Only marks change: what is known is replaced as a whole.
///
/// Invariant: as many expiries as providers; `fresh_until ≤ gone_at ≤` the last expiry.
///
/// Fresh until `fresh_until`, then stale until `gone_at`. From the first expiry on it has to be
/// trimmed before it is served; what remains is as fresh as before.
#[derive(Debug)]
pub(super) struct Entry {
    providers: Arc<[Provider]>,
    expiries: Box<[Instant]>,
    first_expiry: Option<Instant>,
    stored_at: Instant,
    fresh_until: Instant,
    gone_at: Instant,
    marks: Marks,
}

/// What changes while others look.
#[derive(Debug, Default)]
struct Marks {
    was_used: AtomicBool,
    /// When it may be refreshed next, counted from when it was stored.
    refresh_from_nanos: AtomicU64,
    failed_refreshes: AtomicU32,
    /// Where the ring has its name; whoever changes the cache keeps it up to date.
    slot: AtomicUsize,
}

/// What an entry is good for just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Young enough.
    Fresh,
    /// To make do with.
    Stale,
    /// Nobody provides the name.
    Absent,
    /// Some of its providers have expired.
    Overgrown,
    /// Its time is over.
    Gone,
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
        let fresh_end = now + keep.fresh.min(LONGEST_LIFE);
        let (stale, last_end) = match expiries.iter().max() {
            Some(last) => (keep.stale, *last),
            None if is_absence => (Duration::ZERO, fresh_end),
            None => (Duration::ZERO, now),
        };
        let gone_at = last_end.min(fresh_end + stale.min(LONGEST_LIFE));
        Self {
            providers: providers.into(),
            first_expiry: expiries.iter().min().copied(),
            expiries: expiries.into(),
            stored_at: now,
            fresh_until: fresh_end.min(gone_at),
            gone_at,
            marks: Marks::default(),
        }
    }

    pub(super) fn phase(&self, now: Instant, max_age: Option<Duration>) -> Phase {
        if self.is_gone(now) {
            return Phase::Gone;
        }
        if self.is_overgrown(now) {
            return Phase::Overgrown;
        }
        let age = now.saturating_duration_since(self.stored_at);
        let is_fresh = now < self.fresh_until && max_age.is_none_or(|max_age| age < max_age);
        match (is_fresh, self.providers.is_empty()) {
            (true, true) => Phase::Absent,
            (false, true) => Phase::Gone,
            (true, false) => Phase::Fresh,
            (false, false) => Phase::Stale,
        }
    }

    /// What to answer in a phase; counts as a use.
    pub(super) fn look(&self, now: Instant, phase: Phase) -> Look {
        let look = match phase {
            Phase::Fresh => Look::Fresh(Arc::clone(&self.providers)),
            Phase::Stale => Look::Stale {
                providers: Arc::clone(&self.providers),
                refresh_due: self.claim_refresh(now),
            },
            Phase::Absent => Look::Absent,
            Phase::Overgrown | Phase::Gone => return Look::Miss,
        };
        self.mark_used();
        look
    }

    /// What to answer in place of the entry that this one is the rest of.
    pub(super) fn look_for(&self, whole: &Self, now: Instant, max_age: Option<Duration>) -> Look {
        match self.phase(now, max_age) {
            Phase::Stale => Look::Stale {
                providers: Arc::clone(&self.providers),
                refresh_due: whole.claim_refresh(now),
            },
            phase => self.look(now, phase),
        }
    }

    pub(super) fn is_gone(&self, now: Instant) -> bool {
        self.gone_at <= now
    }

    /// Whether it has a provider whose time is over.
    pub(super) fn is_overgrown(&self, now: Instant) -> bool {
        self.first_expiry.is_some_and(|expiry| expiry <= now)
    }

    pub(super) fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// The number of a node's record, if it is one of the providers.
    pub(super) fn seq_of(&self, node_id: &NodeId) -> Option<u64> {
        let provider = self.providers.iter().find(|p| p.node_id() == *node_id);
        provider.map(Provider::seq)
    }

    /// Without the providers whose time is over; `None` if nobody is left.
    pub(super) fn trimmed(&self, now: Instant) -> Option<Self> {
        self.retain(|_, expiry| expiry > now)
    }

    /// Without a provider; `None` if nobody is left.
    pub(super) fn without(&self, node_id: &NodeId) -> Option<Self> {
        self.retain(|provider, _| provider.node_id() != *node_id)
    }

    /// How much of the capacity it takes.
    pub(super) fn weight(&self) -> usize {
        self.providers.len().max(1)
    }

    /// Whether it was looked at since this was last asked.
    pub(super) fn take_used(&self) -> bool {
        self.marks.was_used.swap(false, Ordering::Relaxed)
    }

    /// Lets nobody refresh it for a while, the longer the more refreshes have failed.
    pub(super) fn defer_refresh(&self, now: Instant, longest: Duration) {
        let failures = self.marks.failed_refreshes.fetch_add(1, Ordering::Relaxed);
        let pause = REFRESH_PAUSE.saturating_mul(2_u32.saturating_pow(failures));
        let longest = longest.clamp(REFRESH_PAUSE, LONGEST_LIFE);
        let from = self.nanos_at(now + pause.min(longest));
        self.marks.refresh_from_nanos.store(from, Ordering::Relaxed);
    }

    /// Says where the ring has its name.
    pub(super) fn move_to(&self, slot: usize) {
        self.marks.slot.store(slot, Ordering::Relaxed);
    }

    pub(super) fn slot(&self) -> usize {
        self.marks.slot.load(Ordering::Relaxed)
    }

    /// Takes the slot of the entry before, and counts as used if that one does.
    pub(super) fn take_place_of(&self, before: &Self) {
        self.move_to(before.slot());
        let was_used = before.marks.was_used.load(Ordering::Relaxed);
        self.marks.was_used.store(was_used, Ordering::Relaxed);
    }

    fn mark_used(&self) {
        // Written only when it changes, so that hits do not take the cache line from each other.
        if !self.marks.was_used.load(Ordering::Relaxed) {
            self.marks.was_used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a refresh is due and nobody else has just been told so.
    fn claim_refresh(&self, now: Instant) -> bool {
        let refresh_from = &self.marks.refresh_from_nanos;
        let due_from = refresh_from.load(Ordering::Relaxed);
        let next_from = self.nanos_at(now + REFRESH_PAUSE);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        due_from <= self.nanos_at(now)
            && refresh_from
                .compare_exchange(due_from, next_from, set, fetch)
                .is_ok()
    }

    fn nanos_at(&self, instant: Instant) -> u64 {
        let age = instant.saturating_duration_since(self.stored_at);
        u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)
    }

    fn retain(&self, keeps: impl Fn(&Provider, Instant) -> bool) -> Option<Self> {
        let kept = self.providers.iter().zip(&self.expiries);
        let kept = kept.filter(|(provider, expiry)| keeps(provider, **expiry));
        let (providers, expiries): (Vec<_>, Vec<_>) = kept
            .map(|(provider, expiry)| (provider.clone(), *expiry))
            .unzip();
        let gone_at = self.gone_at.min(expiries.iter().max().copied()?);
        Some(Self {
            providers: providers.into(),
            first_expiry: expiries.iter().min().copied(),
            expiries: expiries.into(),
            stored_at: self.stored_at,
            fresh_until: self.fresh_until.min(gone_at),
            gone_at,
            marks: self.marks.copied(),
        })
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.providers.len(), self.expiries.len());
        assert_eq!(self.expiries.iter().min(), self.first_expiry.as_ref());
        assert!(self.fresh_until <= self.gone_at);
        assert!(
            self.expiries
                .iter()
                .max()
                .is_none_or(|last| self.gone_at <= *last)
        );
    }
}

impl Marks {
    fn copied(&self) -> Self {
        Self {
            was_used: AtomicBool::new(self.was_used.load(Ordering::Relaxed)),
            refresh_from_nanos: AtomicU64::new(self.refresh_from_nanos.load(Ordering::Relaxed)),
            failed_refreshes: AtomicU32::new(self.failed_refreshes.load(Ordering::Relaxed)),
            slot: AtomicUsize::new(self.slot.load(Ordering::Relaxed)),
        }
    }
}

/// How long after a refresh began, or failed for the first time, a stale answer is served without
/// another one.
pub(super) const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Longer than any record may live; keeps sums of instants in range whatever is configured.
const LONGEST_LIFE: Duration = Duration::from_secs(48 * 60 * 60);
