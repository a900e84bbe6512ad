//! The search for one node, by its id.

use std::time::{Duration, Instant};

use macula_core::{Key, NodeId};

use super::finds::LONGEST_SEARCH;
use super::lookup::{Lookup, Quest};
use super::lookups::LookupPurpose;
use super::output::OperationResult;
use super::{Kademlia, OperationId};
use crate::DhtError;

impl Kademlia {
    /// Searches for a node by its id.
    ///
    /// Nobody is closer to a node's point than the node itself, so a lookup of the closest asks it
    /// as soon as anybody names it. The search ends once it has answered, and else like any lookup;
    /// a node that was named and did not answer is located all the same, for it may be on its way
    /// back. One that only dials is in nobody's table.
    ///
    /// Ends with [`OperationResult::Located`], at the latest when `timeout` is over.
    pub fn locate(&mut self, now: Instant, node_id: NodeId, timeout: Duration) -> OperationId {
        let operation = self.next_operation();
        if self.operations() >= self.config.max_operations.get() {
            let overloaded = Err(DhtError::Overloaded);
            self.done(operation, OperationResult::Located(overloaded));
            return operation;
        }
        let target = Key::of_node(&node_id);
        let quest = Quest {
            deadline: now + timeout.min(LONGEST_SEARCH),
            ..self.quest(now, target)
        };
        let seeds = self.table.seeds(&target, self.config.k.get());
        let lookup = Lookup::new(now, quest, seeds);
        self.begin_lookup(lookup, LookupPurpose::Locate { operation, node_id });
        self.run(now);
        operation
    }

    /// Tells where the node is as far as a lookup that is over has heard.
    pub(super) fn end_locate(
        &mut self,
        (operation, node_id): (OperationId, NodeId),
        lookup: &Lookup,
    ) {
        let located = match lookup.contact(&node_id) {
            None if lookup.knew_nobody() => Err(DhtError::Unreachable),
            contact => Ok(contact.cloned()),
        };
        self.done(operation, OperationResult::Located(located));
    }
}
