//! What is to be done next, in the order of virtual time.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use super::Finds;

#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    /// A provider announces its record, or refreshes it.
    Announce { service: usize, node: usize },
    /// Somebody looks for a service, as the scenario says.
    Find,
    /// Somebody looks for a service that has been withdrawn.
    Look { service: usize },
    /// Somebody looks for a service, as a batch of finds says.
    BatchFind { tally: usize, finds: Finds },
    /// The providers of a service withdraw it.
    Withdraw { service: usize },
    /// It is counted who holds the records.
    Sample,
    /// Some nodes die.
    Kill,
    /// The network falls apart.
    Split(NonZeroU64),
    /// The network becomes whole.
    Heal,
}

/// Tasks by time; those of one instant in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    tasks: BTreeMap<(Duration, u64), Task>,
    added: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Duration, task: Task) {
        self.tasks.insert((at, self.added), task);
        self.added += 1;
    }

    /// When the next task is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.tasks.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn pop_until(&mut self, now: Duration) -> Option<Task> {
        let next = self.tasks.first_entry()?;
        (next.key().0 <= now).then(|| next.remove())
    }
}
