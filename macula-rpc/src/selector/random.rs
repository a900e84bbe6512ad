//! Any of them.

use rand::RngExt;

use super::draws::Draws;
use super::{ProviderSelector, Selection};

/// Chooses uniformly among the candidates.
#[derive(Debug)]
pub struct Random {
    draws: Draws,
}

impl Random {
    /// The same seed gives the same choices.
    pub fn new(seed: u64) -> Self {
        Self {
            draws: Draws::new(seed),
        }
    }
}

impl ProviderSelector for Random {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        let count = selection.candidates.len();
        if count <= 1 {
            return count.checked_sub(1);
        }
        Some(self.draws.next().random_range(..count))
    }
}
