//! The lookups that run, and what each is for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use macula_core::{Contact, Key, NodeId};

use super::finds::Find;
use super::lookup::{Lookup, Quest, Step};
use super::output::{OperationResult, Search};
use super::requests::{LookupId, Purpose};
use super::{Kademlia, OperationId, Work};
use crate::message::{LiveClaim, ProvidersAnswer, Response};

/// All lookups that run.
///
// Invariant: `due` and `finds` name lookups that run, `due` all of them; `operations` counts them,
// and those who wait for a find that another began.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    running: BTreeMap<LookupId, RunningLookup>,
    /// When each has to be looked at, whatever happens.
    due: BTreeSet<(Instant, LookupId)>,
    /// The newest find of each key.
    finds: BTreeMap<Key, LookupId>,
    operations: usize,
}

/// A lookup and what its end is good for.
#[derive(Debug)]
pub(super) struct RunningLookup {
    pub(super) lookup: Lookup,
    pub(super) purpose: LookupPurpose,
}

/// What the end of a lookup is good for.
#[derive(Debug)]
pub(super) enum LookupPurpose {
    /// The providers go to whoever waits for them.
    Find(Find),
    /// The closest nodes are told a claim.
    Walk {
        /// The publication.
        operation: OperationId,
        /// Its placement.
        index: usize,
    },
    /// Whoever looks for the node is told where it is.
    Locate {
        /// Who looks.
        operation: OperationId,
        /// The node.
        node_id: NodeId,
    },
    /// Whoever joins is told when it ends.
    Join(OperationId),
    /// The contacts met on the way are all there is to it.
    Refresh,
}

impl Lookups {
    fn insert(&mut self, lookup_id: LookupId, running: RunningLookup) {
        self.due.insert((running.due(), lookup_id));
        self.operations += running.operations();
        if let LookupPurpose::Find(_) = running.purpose {
            self.finds.insert(running.lookup.target(), lookup_id);
        }
        self.running.insert(lookup_id, running);
    }

    pub(super) fn get_mut(&mut self, lookup_id: LookupId) -> Option<&mut RunningLookup> {
        self.running.get_mut(&lookup_id)
    }

    fn remove(&mut self, lookup_id: LookupId) -> Option<RunningLookup> {
        let running = self.running.remove(&lookup_id)?;
        self.due.remove(&(running.due(), lookup_id));
        self.operations -= running.operations();
        let key = running.lookup.target();
        if self.finds.get(&key) == Some(&lookup_id) {
            self.finds.remove(&key);
        }
        if self.running.is_empty() {
            // An idle node keeps no memory for them.
            *self = Self::default();
        }
        Some(running)
    }

    /// Changes who waits for a find; what that comes to.
    pub(super) fn update_find<R>(
        &mut self,
        lookup_id: LookupId,
        change: impl FnOnce(&mut Lookup, &mut Find) -> R,
    ) -> Option<R> {
        let running = self.running.get_mut(&lookup_id)?;
        let (due, operations) = (running.due(), running.operations());
        let LookupPurpose::Find(find) = &mut running.purpose else {
            return None;
        };
        let changed = change(&mut running.lookup, find);
        self.due.remove(&(due, lookup_id));
        self.due.insert((running.due(), lookup_id));
        self.operations = self.operations - operations + running.operations();
        Some(changed)
    }

    /// The find that a search may join.
    pub(super) fn joinable(&self, now: Instant, search: &Search) -> Option<LookupId> {
        let lookup_id = *self.finds.get(&search.key)?;
        let running = self.running.get(&lookup_id)?;
        let LookupPurpose::Find(find) = &running.purpose else {
            return None;
        };
        find.suits(now, search, &running.lookup)
            .then_some(lookup_id)
    }

    /// The lookups that have to be looked at by now.
    pub(super) fn overdue(&self, now: Instant) -> impl Iterator<Item = LookupId> {
        let due = self.due.iter();
        due.take_while(move |(at, _)| *at <= now)
            .map(|(_, lookup_id)| *lookup_id)
    }

    /// Where the walks for placements go, and for which of which publication each is.
    pub(super) fn walks_of_placements(&self) -> impl Iterator<Item = (Key, (OperationId, usize))> {
        let running = self.running.values();
        running.filter_map(|running| match running.purpose {
            LookupPurpose::Walk { operation, index } => {
                Some((running.lookup.target(), (operation, index)))
            }
            _ => None,
        })
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many operations they are: a find counts once for everybody who waits for it.
    pub(super) fn operations(&self) -> usize {
        self.operations
    }

    pub(super) fn check_invariants(&self) {
        let due: BTreeSet<_> = self
            .running
            .iter()
            .map(|(lookup_id, running)| (running.due(), *lookup_id))
            .collect();
        assert_eq!(self.due, due, "lookups are not looked at in time");
        let all = self.running.values();
        let operations: usize = all.clone().map(RunningLookup::operations).sum();
        assert_eq!(self.operations, operations, "operations are miscounted");
        for (key, lookup_id) in &self.finds {
            let target = self.running[lookup_id].lookup.target();
            assert_eq!(target, *key, "a find is kept under another key");
        }
        for running in all {
            running.lookup.check_invariants();
        }
    }
}

impl RunningLookup {
    /// The first deadline of those who wait.
    fn due(&self) -> Instant {
        let deadline = self.lookup.deadline();
        match &self.purpose {
            LookupPurpose::Find(find) => find.first_deadline().unwrap_or(deadline),
            _ => deadline,
        }
    }

    /// Whether the node that it looks for has answered.
    fn has_located(&self) -> bool {
        match &self.purpose {
            LookupPurpose::Locate { node_id, .. } => self.lookup.was_answered_by(node_id),
            _ => false,
        }
    }

    fn operations(&self) -> usize {
        match &self.purpose {
            LookupPurpose::Find(find) => find.waiters(),
            _ => 1,
        }
    }
}

impl Kademlia {
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
        let seeds = self.table.seeds(&target, self.config.k.get());
        let lookup = Lookup::new(now, self.quest(now, target), seeds);
        self.begin_lookup(lookup, purpose);
    }

    /// Begins a lookup; it is looked at when the queued work is done.
    pub(super) fn begin_lookup(&mut self, lookup: Lookup, purpose: LookupPurpose) {
        let lookup_id = LookupId(self.next_id());
        self.stats.lookups += 1;
        let running = RunningLookup { lookup, purpose };
        self.lookups.insert(lookup_id, running);
        self.queue(Work::Lookup(lookup_id));
    }

    /// What every lookup is after, unless it is after more.
    pub(super) fn quest(&self, now: Instant, target: Key) -> Quest {
        Quest {
            local: self.local.node_id,
            target,
            want: None,
            k: self.config.k.get(),
            alpha: self.config.alpha.get(),
            replication: self.config.replication.get(),
            quorum: self.config.quorum.get(),
            follows: true,
            trace: false,
            deadline: now + self.config.walk_timeout,
        }
    }

    /// Sends what a lookup wants sent, and ends it when it is over.
    pub(super) fn advance_lookup(&mut self, now: Instant, lookup_id: LookupId) {
        self.serve_waiters(now, lookup_id);
        loop {
            let Some(running) = self.lookups.get_mut(lookup_id) else {
                return;
            };
            if running.has_located() {
                return self.end_lookup(now, lookup_id);
            }
            match running.lookup.poll(now) {
                Step::Ask(contact) => {
                    let request = running.lookup.request();
                    self.send(now, contact, request, Purpose::Lookup(lookup_id));
                }
                Step::Wait => {
                    if let LookupPurpose::Walk { operation, index } = running.purpose {
                        let settled = running.lookup.settled(self.config.replication.get());
                        self.handle_walking((operation, index), settled);
                    }
                    return;
                }
                Step::Done => return self.end_lookup(now, lookup_id),
            }
        }
    }

    /// Ends a lookup, and tells whoever waits for it.
    pub(super) fn end_lookup(&mut self, now: Instant, lookup_id: LookupId) {
        let Some(RunningLookup { lookup, purpose }) = self.lookups.remove(lookup_id) else {
            return;
        };
        match purpose {
            LookupPurpose::Find(find) => self.end_find(now, lookup, &find),
            LookupPurpose::Walk { operation, index } => {
                self.handle_walked(now, (operation, index), &lookup);
            }
            LookupPurpose::Locate { operation, node_id } => {
                self.end_locate((operation, node_id), &lookup);
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
        let Some(running) = self.lookups.get_mut(lookup_id) else {
            return true;
        };
        let lookup = &mut running.lookup;
        let seeks_providers = lookup.want().is_some();
        let fits = match response {
            Some(Response::Nodes { closer }) if !seeks_providers => {
                lookup.handle_answer(now, from, Vec::new(), &closer);
                true
            }
            Some(Response::Providers(answer)) if seeks_providers => {
                let (claims, closer) = claims_and_closer(answer);
                lookup.handle_answer(now, from, claims, &closer);
                true
            }
            other => {
                lookup.handle_failure(now, from);
                matches!(other, None | Some(Response::Refused))
            }
        };
        self.queue(Work::Lookup(lookup_id));
        fits
    }

    /// How long a request to a peer may hold its slot.
    pub(super) fn slot_timeout(&self, to: &NodeId) -> Duration {
        self.round_trips.slot_timeout(self.table.rtt(to))
    }

    /// Gives the slot of a slow peer to another.
    pub(super) fn release_slot(&mut self, lookup_id: LookupId, from: &NodeId) {
        if let Some(running) = self.lookups.get_mut(lookup_id) {
            running.lookup.release_slot(from);
            self.queue(Work::Lookup(lookup_id));
        }
    }
}

fn claims_and_closer(answer: ProvidersAnswer) -> (Vec<LiveClaim>, Vec<Contact>) {
    let records = answer.records.into_iter().map(LiveClaim::from);
    let withdrawals = answer.withdrawals.into_iter().map(LiveClaim::from);
    (records.chain(withdrawals).collect(), answer.closer)
}
