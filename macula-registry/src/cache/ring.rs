//! In which order entries make room for others.

use macula_core::ServiceName;

/// The names of all entries, and the hand that goes round them.
///
/// When room is needed the hand goes round: what was looked at since it last came by gets another
/// round, the rest goes (the CLOCK algorithm, an LRU whose hits write one bit).
///
/// Invariant: `weight` is the sum of the entries' weights, at most `capacity` when nobody is
/// changing the cache; each entry knows the slot that its name is in.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) capacity: usize,
    pub(super) weight: usize,
    pub(super) slots: Vec<ServiceName>,
    hand: usize,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            weight: 0,
            slots: Vec::new(),
            hand: 0,
        }
    }

    pub(super) fn is_overfull(&self) -> bool {
        self.weight > self.capacity
    }

    /// Takes a name in; answers its slot.
    pub(super) fn add(&mut self, name: ServiceName) -> usize {
        self.slots.push(name);
        self.slots.len() - 1
    }

    /// Frees a slot; answers whose slot it is from now on.
    pub(super) fn remove(&mut self, slot: usize) -> Option<&ServiceName> {
        self.slots.swap_remove(slot);
        self.slots.get(slot)
    }

    /// The name that the hand points at.
    pub(super) fn candidate(&mut self) -> Option<ServiceName> {
        if self.hand >= self.slots.len() {
            self.hand = 0;
        }
        self.slots.get(self.hand).cloned()
    }

    /// Goes on to the next.
    pub(super) fn advance(&mut self) {
        self.hand += 1;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }
}
