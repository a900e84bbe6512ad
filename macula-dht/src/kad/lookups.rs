//! The lookups that run, and what each is for.

use std::time::Instant;

use macula_core::{Contact, Key, NodeId};

use super::lookup::{Lookup, Quest, Step};
use super::output::{Ask, MAX_ASKED, OperationResult, Search};
use super::requests::{LookupId, Purpose};
use super::{Kademlia, OperationId, Work};
use crate::DhtError;
use crate::message::{LiveClaim, ProvidersAnswer, Response};

/// Requests of a one-hop find that are in flight at once.
const ONE_HOP_ALPHA: usize = 16;

/// A lookup and what its end is good for.
#[derive(Debug, Clone)]
pub(super) struct RunningLookup {
    pub(super) lookup: Lookup,
    purpose: LookupPurpose,
}

/// What the end of a lookup is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookupPurpose {
    /// The providers go to whoever asked.
    Find(OperationId),
    /// The closest nodes are told a claim.
    Walk {
        /// The publication.
        operation: OperationId,
        /// Its placement.
        index: usize,
    },
    /// Whoever joins is told when it ends.
    Join(OperationId),
    /// The contacts met on the way are all there is to it.
    Refresh,
}

impl Kademlia {
    /// Searches for the providers of a service.
    ///
    /// Ends with [`OperationResult::Found`], at the latest when `search.timeout` is over.
    pub fn find(&mut self, now: Instant, search: Search) -> OperationId {
        let operation = self.next_operation();
        if self.operations() >= self.config.max_operations.get() {
            self.done(operation, OperationResult::Found(Err(DhtError::Overloaded)));
            return operation;
        }
        let (seeds, follows) = match search.ask {
            Ask::Network => (self.table.closest(&search.key, self.config.k.get()), true),
            Ask::Only(contacts) => (contacts.into_iter().take(MAX_ASKED).collect(), false),
        };
        let quest = Quest {
            want: Some(search.want),
            follows,
            deadline: now + search.timeout.min(LONGEST_SEARCH),
            ..self.quest(now, search.key)
        };
        let quest = if follows {
            quest
        } else {
            one_hop(&quest, seeds.len())
        };
        let mut lookup = Lookup::new(quest, seeds);
        self.merge_local(now, &search.key, &mut lookup);
        self.begin_lookup(now, lookup, LookupPurpose::Find(operation));
        operation
    }

    /// Looks up this node's own key, so that it finds its neighbours and they find it; a node
    /// that only dials has joined with its first contact.
    ///
    /// Ends with [`OperationResult::Joined`]. The contacts to start from come in by
    /// [`handle_reached`](Self::handle_reached).
    pub fn join(&mut self, now: Instant) -> OperationId {
        let operation = self.next_operation();
        if self.local.serves {
            self.begin_walk(now, self.local_key, LookupPurpose::Join(operation));
            self.run(now);
        } else {
            // Nobody looks for it, and its first contact has begun a walk: a caller need not wait
            // for a neighbour that happens to be dead.
            let contacts = self.table.len();
            self.done(operation, OperationResult::Joined { contacts });
        }
        operation
    }

    /// Begins a lookup of the nodes closest to a point.
    pub(super) fn begin_walk(&mut self, now: Instant, target: Key, purpose: LookupPurpose) {
        let seeds = self.table.closest(&target, self.config.k.get());
        let lookup = Lookup::new(self.quest(now, target), seeds);
        self.insert_lookup(lookup, purpose);
    }

    fn begin_lookup(&mut self, now: Instant, lookup: Lookup, purpose: LookupPurpose) {
        self.insert_lookup(lookup, purpose);
        self.run(now);
    }

    fn insert_lookup(&mut self, lookup: Lookup, purpose: LookupPurpose) {
        let lookup_id = LookupId(self.next_id());
        self.stats.lookups += 1;
        let running = RunningLookup { lookup, purpose };
        self.lookups.insert(lookup_id, running);
        self.queue(Work::Lookup(lookup_id));
    }

    fn quest(&self, now: Instant, target: Key) -> Quest {
        Quest {
            local: self.local.node_id,
            target,
            want: None,
            k: self.config.k.get(),
            alpha: self.config.alpha.get(),
            replication: self.config.replication.get(),
            quorum: self.config.quorum.get(),
            follows: true,
            deadline: now + self.config.walk_timeout,
        }
    }

    /// Sends what a lookup wants sent, and ends it when it is over.
    pub(super) fn advance_lookup(&mut self, now: Instant, lookup_id: LookupId) {
        loop {
            let Some(running) = self.lookups.get_mut(&lookup_id) else {
                return;
            };
            match running.lookup.poll(now) {
                Step::Ask(contact) => {
                    let request = running.lookup.request();
                    self.send(now, contact, request, Purpose::Lookup(lookup_id));
                }
                Step::Wait => return,
                Step::Done => break,
            }
        }
        if let Some(running) = self.lookups.remove(&lookup_id) {
            self.end_lookup(now, running);
        }
    }

    fn end_lookup(&mut self, now: Instant, running: RunningLookup) {
        let RunningLookup {
            mut lookup,
            purpose,
        } = running;
        match purpose {
            LookupPurpose::Find(operation) => {
                // What changed here while it ran counts too, a withdrawal above all.
                let key = lookup.target();
                self.merge_local(now, &key, &mut lookup);
                let found = lookup.found(now).ok_or(DhtError::Unreachable);
                self.done(operation, OperationResult::Found(found));
            }
            LookupPurpose::Walk { operation, index } => {
                self.handle_walked(now, (operation, index), lookup.closest_answered());
            }
            LookupPurpose::Join(operation) => {
                let contacts = self.table.len();
                self.done(operation, OperationResult::Joined { contacts });
                self.fill_buckets(now);
            }
            LookupPurpose::Refresh => self.handle_refreshed(now),
        }
    }

    /// Takes the answer to a step of a lookup, `None` when it failed; whether it fits.
    pub(super) fn handle_looked_up(
        &mut self,
        now: Instant,
        lookup_id: LookupId,
        from: &NodeId,
        response: Option<Response>,
    ) -> bool {
        let Some(running) = self.lookups.get_mut(&lookup_id) else {
            return true;
        };
        let lookup = &mut running.lookup;
        let fits = match response {
            Some(Response::Nodes { closer }) if !lookup.seeks_providers() => {
                lookup.handle_answer(now, from, Vec::new(), closer);
                true
            }
            Some(Response::Providers(answer)) if lookup.seeks_providers() => {
                let (claims, closer) = claims_and_closer(answer);
                lookup.handle_answer(now, from, claims, closer);
                true
            }
            other => {
                lookup.handle_failure(from);
                matches!(other, None | Some(Response::Refused))
            }
        };
        self.queue(Work::Lookup(lookup_id));
        fits
    }

    fn merge_local(&mut self, now: Instant, key: &Key, lookup: &mut Lookup) {
        let records = self.store.records(now, key);
        for record in records {
            lookup.merge(now, record.into());
        }
        let withdrawals = self.store.withdrawals(now, key);
        for withdrawal in withdrawals {
            lookup.merge(now, withdrawal.into());
        }
    }
}

fn claims_and_closer(answer: ProvidersAnswer) -> (Vec<LiveClaim>, Vec<Contact>) {
    let records = answer.records.into_iter().map(LiveClaim::from);
    let withdrawals = answer.withdrawals.into_iter().map(LiveClaim::from);
    (records.chain(withdrawals).collect(), answer.closer)
}

/// All of those who are asked have to answer to prove an absence, near or far.
fn one_hop(quest: &Quest, asked: usize) -> Quest {
    Quest {
        k: MAX_ASKED,
        alpha: ONE_HOP_ALPHA,
        replication: asked,
        quorum: asked,
        ..quest.clone()
    }
}

/// No search takes longer; this only keeps instants from overflowing.
const LONGEST_SEARCH: std::time::Duration = std::time::Duration::from_secs(60 * 60);
