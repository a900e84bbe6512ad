//! One simulated node: its machine while it lives, and when it wants to be woken.

use std::time::{Duration, Instant};

use macula_core::NodeId;
use macula_dht::kad::Kademlia;

/// A node; the machine of a dead one is gone.
// Invariant: `armed` is the earliest wake-up of this node in the event queue that still counts.
pub(super) struct Node {
    node_id: NodeId,
    machine: Option<Kademlia>,
    armed: Option<Duration>,
}

impl Node {
    pub(super) fn new(node_id: NodeId, machine: Kademlia) -> Self {
        Self {
            node_id,
            machine: Some(machine),
            armed: None,
        }
    }

    pub(super) fn node_id(&self) -> NodeId {
        self.node_id
    }

    pub(super) fn is_alive(&self) -> bool {
        self.machine.is_some()
    }

    pub(super) fn machine(&self) -> Option<&Kademlia> {
        self.machine.as_ref()
    }

    pub(super) fn machine_mut(&mut self) -> Option<&mut Kademlia> {
        self.machine.as_mut()
    }

    pub(super) fn kill(&mut self) {
        self.machine = None;
        self.armed = None;
    }

    /// When a wake-up has to be added to the queue, if one has to. A later deadline needs none:
    /// the wake-up that is there looks again.
    pub(super) fn arm(&mut self, epoch: Instant, now: Duration) -> Option<Duration> {
        let deadline = self.machine.as_ref()?.poll_timeout()?;
        let at = deadline.saturating_duration_since(epoch).max(now);
        if self.armed.is_some_and(|armed| armed <= at) {
            return None;
        }
        self.armed = Some(at);
        Some(at)
    }

    /// Takes a wake-up; whether the machine's deadline has come.
    pub(super) fn woken(&mut self, now: Instant, at: Duration) -> bool {
        if self.armed == Some(at) {
            self.armed = None;
        }
        self.machine
            .as_ref()
            .and_then(Kademlia::poll_timeout)
            .is_some_and(|deadline| deadline <= now)
    }
}
