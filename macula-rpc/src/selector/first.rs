//! Always the first.

use super::{ProviderSelector, Selection};

/// Chooses the first candidate: one provider does the work, the others stand by.
#[derive(Debug, Clone, Copy, Default)]
pub struct First;

impl ProviderSelector for First {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        (!selection.candidates.is_empty()).then_some(0)
    }
}
