//! What must hold: the machines' invariants, and that finds tell the truth.

use std::num::NonZeroU64;

use macula_core::NodeId;
use macula_dht::{FindOutcome, Found};

/// Decides when a machine is checked.
#[derive(Debug)]
pub(crate) struct Checker {
    every: NonZeroU64,
    steps: u64,
}

/// How a find compares with what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The provider is among those found.
    Found,
    /// It said that there is none.
    Absent,
    /// It could not tell.
    Inconclusive,
    /// It found somebody who never announced this.
    Invented,
}

impl Checker {
    pub(crate) fn new(every: NonZeroU64) -> Self {
        Self { every, steps: 0 }
    }

    /// Counts a step; whether the machine that took it is to be checked.
    pub(crate) fn is_due(&mut self) -> bool {
        self.steps += 1;
        self.steps.is_multiple_of(self.every.get())
    }
}

impl Verdict {
    /// Judges a find of a service that only `provider` has ever announced.
    pub(crate) fn of(found: &Found, provider: &NodeId) -> Self {
        let mut providers = found.providers.iter().map(|found| found.record.provider());
        if providers.any(|found| found != *provider) {
            return Self::Invented;
        }
        if !found.providers.is_empty() {
            return Self::Found;
        }
        match found.outcome {
            FindOutcome::Found | FindOutcome::Inconclusive => Self::Inconclusive,
            FindOutcome::Absent => Self::Absent,
        }
    }
}
