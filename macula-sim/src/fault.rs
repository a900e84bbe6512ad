//! What goes wrong on the way.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::SimError;

/// Faults of the links between nodes. Nodes themselves leave by [`Churn`](crate::Churn) or are
/// killed by [`Network::kill`](crate::Network::kill).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// The share of messages that never arrive, requests and answers alike: 0 to 1.
    pub loss: f64,
    /// The share of messages that arrive a second time, later: 0 to 1. Of those that are lost
    /// none does.
    pub duplicates: f64,
}

impl Faults {
    pub(crate) fn check(&self) -> Result<(), SimError> {
        share("loss", self.loss)?;
        share("duplicates", self.duplicates)
    }

    /// Whether this message is lost.
    pub(crate) fn lose(&self, rng: &mut StdRng) -> bool {
        self.loss > 0.0 && rng.random_bool(self.loss)
    }

    /// Whether this message arrives twice.
    pub(crate) fn duplicate(&self, rng: &mut StdRng) -> bool {
        self.duplicates > 0.0 && rng.random_bool(self.duplicates)
    }
}

/// Whether a setting is a share of a whole.
pub(crate) fn share(name: &'static str, value: f64) -> Result<(), SimError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(SimError::NotAShare { name, value })
    }
}
