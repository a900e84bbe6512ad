//! Lookups under way: one per name, however many wait for it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use macula_core::{NodeId, ServiceName};
use macula_dht::DhtError;
use tokio::sync::watch;

use super::Elsewhere;
use crate::ResolveError;

/// What a lookup comes to, for everybody who waits for it.
pub(super) type Answer = Result<Elsewhere, ResolveError>;

/// The lookups under way, at most so many.
pub(super) struct Flights {
    max_lookups: usize,
    by_name: Mutex<BTreeMap<ServiceName, Underway>>,
}

struct Underway {
    landing: Landing,
    /// Providers that proved dead or left since it began, and up to which of their records.
    removed: Vec<(NodeId, u64)>,
}

/// How a lookup ends for those who wait for it.
#[derive(Clone)]
pub(super) enum Landed {
    /// With what the lookup came to.
    Answered(Answer),
    /// Without a search: who started it found in the cache what may be too old for others.
    InCache,
}

/// Where to wait for the answer of a lookup. Waiters come and go without effect on it.
#[derive(Clone)]
pub(super) struct Landing(watch::Receiver<Option<Landed>>);

/// The one who carries a lookup out. Dropping it without an answer fails those who wait.
pub(super) struct Flight {
    flights: Arc<Flights>,
    name: ServiceName,
    landed: Option<Landed>,
    landing: watch::Sender<Option<Landed>>,
}

/// How to come by the answer for a name.
pub(super) enum Boarding {
    /// A lookup is under way: wait for it.
    Join(Landing),
    /// Carry out the lookup, and wait like everybody else.
    Start(Flight, Landing),
    /// As many lookups as allowed are under way for other names.
    Full,
}

impl Flights {
    pub(super) fn new(max_lookups: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self {
            max_lookups: max_lookups.get(),
            by_name: Mutex::default(),
        })
    }

    pub(super) fn board(self: &Arc<Self>, name: &ServiceName) -> Boarding {
        let mut by_name = self.lock();
        if let Some(underway) = by_name.get(name) {
            return Boarding::Join(underway.landing.clone());
        }
        if by_name.len() >= self.max_lookups {
            return Boarding::Full;
        }
        let (sender, landing) = watch::channel(None);
        let landing = Landing(landing);
        let underway = Underway {
            landing: landing.clone(),
            removed: Vec::new(),
        };
        by_name.insert(name.clone(), underway);
        let flight = Flight {
            flights: Arc::clone(self),
            name: name.clone(),
            landed: None,
            landing: sender,
        };
        Boarding::Start(flight, landing)
    }

    /// Has the lookup under way, if there is one, leave out a provider's records up to `seq`:
    /// those whom it asked before they were of no use any more did not know.
    ///
    /// Beyond [`MAX_REMOVED`] the lookup may bring it back, to be tried and removed once more.
    pub(super) fn note_removed(&self, name: &ServiceName, node_id: &NodeId, seq: u64) {
        if let Some(underway) = self.lock().get_mut(name) {
            underway.note_removed(node_id, seq);
        }
    }

    /// The same for every lookup under way and all records of a provider: it has left.
    pub(super) fn note_left(&self, node_id: &NodeId) {
        for underway in self.lock().values_mut() {
            underway.note_removed(node_id, u64::MAX);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Underway>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Underway {
    fn note_removed(&mut self, node_id: &NodeId, seq: u64) {
        if self.removed.len() < MAX_REMOVED {
            self.removed.push((*node_id, seq));
        }
    }
}

impl Landing {
    /// Waits for the end.
    pub(super) async fn landed(mut self) -> Landed {
        let landed = self.0.wait_for(Option::is_some).await;
        let landed = landed.ok().and_then(|landed| landed.clone());
        landed.unwrap_or(Landed::Answered(Err(LOST)))
    }
}

impl Flight {
    pub(super) fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Providers that proved dead since it began, and up to which of their records.
    pub(super) fn removed(&self) -> Vec<(NodeId, u64)> {
        let by_name = self.flights.lock();
        by_name
            .get(&self.name)
            .map_or_else(Vec::new, |underway| underway.removed.clone())
    }

    /// Gives everybody the answer.
    pub(super) fn land(mut self, answer: Answer) {
        self.landed = Some(Landed::Answered(answer));
    }

    /// Sends everybody to the cache.
    pub(super) fn end_in_cache(mut self) {
        self.landed = Some(Landed::InCache);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // First, so that nobody who has to board again finds this one.
        self.flights.lock().remove(&self.name);
        if let Some(landed) = self.landed.take() {
            self.landing.send_replace(Some(landed));
        }
    }
}

/// The lookup ended without a word: its runtime is gone, or the DHT panicked.
pub(super) const LOST: ResolveError = ResolveError::Dht(DhtError::Closed);

/// The most removed providers that one lookup remembers.
const MAX_REMOVED: usize = 256;
