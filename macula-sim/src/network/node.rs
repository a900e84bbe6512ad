//! One simulated node: its machine while it lives, and when it wants to be woken.

use std::time::{Duration, Instant};

use macula_core::NodeId;
use macula_dht::kad::{Kademlia, PlacedContact};

use crate::Sent;
use crate::population::Role;

/// A node; the machine of a dead one is gone.
// Invariant: `armed` is the earliest wake-up of this node in the event queue that still counts.
pub(super) struct Node {
    /// Shared by all tables that the node is in.
    contact: PlacedContact,
    role: Role,
    /// How many times it has left.
    life: u32,
    machine: Option<Box<Kademlia>>,
    armed: Option<Duration>,
    /// In all its lives.
    sent: Sent,
}

impl Node {
    /// One without a machine, which it gets by [`revive`](Self::revive).
    pub(super) fn dead(contact: PlacedContact, role: Role) -> Self {
        Self {
            contact,
            role,
            life: 0,
            machine: None,
            armed: None,
            sent: Sent::default(),
        }
    }

    pub(super) fn node_id(&self) -> NodeId {
        self.contact.node_id
    }

    pub(super) fn contact(&self) -> &PlacedContact {
        &self.contact
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn life(&self) -> u32 {
        self.life
    }

    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    pub(super) fn sent_mut(&mut self) -> &mut Sent {
        &mut self.sent
    }

    pub(super) fn is_alive(&self) -> bool {
        self.machine.is_some()
    }

    pub(super) fn machine(&self) -> Option<&Kademlia> {
        self.machine.as_deref()
    }

    pub(super) fn machine_mut(&mut self) -> Option<&mut Kademlia> {
        self.machine.as_deref_mut()
    }

    /// Ends it; whether it was alive.
    pub(super) fn kill(&mut self) -> bool {
        self.armed = None;
        let was_alive = self.machine.take().is_some();
        self.life += u32::from(was_alive);
        was_alive
    }

    /// Begins another life, which remembers nothing.
    pub(super) fn revive(&mut self, machine: Kademlia) {
        self.machine = Some(Box::new(machine));
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
        self.machine()
            .and_then(Kademlia::poll_timeout)
            .is_some_and(|deadline| deadline <= now)
    }
}
