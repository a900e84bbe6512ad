//! Any of them.

use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{ProviderSelector, Selection};

/// Chooses uniformly among the candidates.
#[derive(Debug)]
pub struct Random {
    rng: Mutex<StdRng>,
}

impl Random {
    /// The same seed gives the same choices.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }
}

impl ProviderSelector for Random {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        let count = selection.candidates.len();
        if count <= 1 {
            return count.checked_sub(1);
        }
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Some(rng.random_range(..count))
    }
}
