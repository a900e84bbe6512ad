//! A lookup that was started: whatever becomes of it is counted, and told to those who wait.

use std::sync::Arc;

use super::Resolver;
use super::flight::{Answer, Flight, LOST};

/// A lookup under way, which fails like any other when it is dropped before its end: the DHT has
/// panicked, or the runtime is gone.
pub(super) struct Search {
    resolver: Arc<Resolver>,
    /// `None` once it has landed.
    flight: Option<Flight>,
}

/// Why a lookup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody waits for it.
    Answer,
    /// A stale answer is served meanwhile.
    Refresh,
}

impl Search {
    pub(super) fn new(resolver: &Arc<Resolver>, flight: Flight) -> Self {
        Self {
            resolver: Arc::clone(resolver),
            flight: Some(flight),
        }
    }

    /// Gives everybody the answer to which the resolver comes.
    pub(super) fn end(mut self, answer: impl FnOnce(&Resolver, &Flight) -> Answer) {
        if let Some(flight) = self.flight.take() {
            let answer = answer(&self.resolver, &flight);
            flight.land(answer);
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            let answer = self.resolver.failed(flight.name(), LOST);
            flight.land(answer);
        }
    }
}
