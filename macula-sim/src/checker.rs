//! What must hold of every machine after every step, and of every operation.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use macula_dht::kad::OperationId;

/// Decides when a machine is checked.
#[derive(Debug)]
pub(crate) struct Checker {
    every: NonZeroU64,
    steps: u64,
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

/// The operations that run, and by when each has to be over.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    running: BTreeMap<(usize, OperationId), Duration>,
    late: u64,
}

impl Deadlines {
    pub(crate) fn begin(&mut self, node: usize, operation: OperationId, deadline: Duration) {
        self.running.insert((node, operation), deadline);
    }

    pub(crate) fn end(&mut self, node: usize, operation: OperationId, now: Duration) {
        let deadline = self.running.remove(&(node, operation));
        self.late += u64::from(deadline.is_some_and(|deadline| deadline < now));
    }

    /// Whatever a node was doing ended with it.
    pub(crate) fn forget(&mut self, node: usize) {
        self.running.retain(|(of, _), _| *of != node);
    }

    /// Operations that ended after their deadline, or run though theirs is over.
    pub(crate) fn missed(&self, now: Duration) -> u64 {
        let overdue = self.running.values().filter(|deadline| **deadline < now);
        self.late + overdue.count() as u64
    }
}
