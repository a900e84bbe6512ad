//! One after the other.

use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use macula_core::ServiceName;

use super::{ProviderSelector, Selection};

/// How many services have a counter of their own; those beyond share one.
pub const MAX_COUNTED_SERVICES: usize = 16_384;

/// Chooses the candidates of each service in turn.
///
/// Only the first choice for a call advances the turn, so that a call that fails over takes
/// nobody's turn; it goes on with the candidate after the one that was of no use.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turns: papaya::HashMap<ServiceName, AtomicUsize, RandomState>,
    shared_turn: AtomicUsize,
}

impl RoundRobin {
    /// Every service begins with its first candidate.
    pub fn new() -> Self {
        Self::default()
    }

    fn with_turn<R>(&self, service: &ServiceName, f: impl FnOnce(&AtomicUsize) -> R) -> R {
        let turns = self.turns.pin();
        if let Some(turn) = turns.get(service) {
            return f(turn);
        }
        // Racing newcomers may overshoot the bound by one entry each.
        if turns.len() >= MAX_COUNTED_SERVICES {
            return f(&self.shared_turn);
        }
        f(turns.get_or_insert_with(service.clone(), AtomicUsize::default))
    }
}

impl ProviderSelector for RoundRobin {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        let left = selection.candidates.len();
        if left == 0 {
            return None;
        }
        let gone = selection.chosen_before;
        let turn = self.with_turn(selection.service, |turn| match gone {
            0 => turn.fetch_add(1, Ordering::Relaxed),
            _ => turn.load(Ordering::Relaxed).wrapping_sub(1),
        });
        // Each one that was chosen is gone from the list: its place is now its successor's.
        let place = (left..=left + gone)
            .rev()
            .fold(turn, |place, len| place % len);
        Some(place)
    }
}
