//! The searches for providers, and who waits for each.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use macula_core::Key;

use super::lookup::{Lookup, Quest};
use super::lookups::LookupPurpose;
use super::output::{Ask, MAX_ASKED, OperationResult, Search};
use super::requests::LookupId;
use super::{Kademlia, OperationId, Work};
use crate::message::LiveClaim;
use crate::{DhtError, Found};

/// How long after its beginning a lookup may be joined: what it heard before must not be older
/// than a caller can expect of a search of its own.
const JOINABLE_FOR: Duration = Duration::from_secs(1);

/// Requests of a one-hop find that are in flight at once.
const ONE_HOP_ALPHA: usize = 16;

/// No search takes longer; this only keeps instants from overflowing.
pub(super) const LONGEST_SEARCH: Duration = Duration::from_secs(60 * 60);

/// Whom one search for providers asks, and who waits for it: its first caller and those who have
/// joined since. All count as operations, which bounds them.
#[derive(Debug)]
pub(super) struct Find {
    ask: Ask,
    began_at: Instant,
    waiters: Vec<Waiter>,
}

/// Somebody who waits for providers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    operation: OperationId,
    want: NonZeroUsize,
    deadline: Instant,
    trace: bool,
}

impl Find {
    /// Whether a search would ask the same and want no more.
    pub(super) fn suits(&self, now: Instant, search: &Search, lookup: &Lookup) -> bool {
        now.saturating_duration_since(self.began_at) <= JOINABLE_FOR
            && lookup.want().is_some_and(|want| want >= search.want)
            && lookup.traces() >= search.trace
            && self.ask == search.ask
    }

    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.waiters.iter().map(|waiter| waiter.deadline).min()
    }

    pub(super) fn waiters(&self) -> usize {
        self.waiters.len()
    }

    fn serves_anybody(&self, now: Instant, lookup: &Lookup) -> bool {
        let mut waiters = self.waiters.iter();
        waiters.any(|waiter| waiter.is_served(now, lookup))
    }

    fn take_served(&mut self, now: Instant, lookup: &Lookup) -> Vec<Waiter> {
        self.waiters
            .extract_if(.., |waiter| waiter.is_served(now, lookup))
            .collect()
    }
}

impl Waiter {
    /// Whether it need not or cannot wait any longer.
    fn is_served(&self, now: Instant, lookup: &Lookup) -> bool {
        self.deadline <= now || lookup.has(now, self.want)
    }
}

impl Kademlia {
    /// Searches for the providers of a service.
    ///
    /// Ends with [`OperationResult::Found`], at the latest when `search.timeout` is over. A search
    /// that another asks the same at this time joins it.
    pub fn find(&mut self, now: Instant, search: Search) -> OperationId {
        let operation = self.next_operation();
        if self.operations() >= self.config.max_operations.get() {
            self.done(operation, OperationResult::Found(Err(DhtError::Overloaded)));
            return operation;
        }
        let waiter = Waiter {
            operation,
            want: search.want,
            deadline: now + search.timeout.min(LONGEST_SEARCH),
            trace: search.trace,
        };
        match self.lookups.joinable(now, &search) {
            Some(lookup_id) => self.join_find(lookup_id, waiter),
            None => self.begin_find(now, search, waiter),
        }
        self.run(now);
        operation
    }

    fn join_find(&mut self, lookup_id: LookupId, waiter: Waiter) {
        self.stats.finds_joined += 1;
        self.lookups.update_find(lookup_id, |lookup, find| {
            lookup.extend(waiter.deadline);
            find.waiters.push(waiter);
        });
        self.queue(Work::Lookup(lookup_id));
    }

    fn begin_find(&mut self, now: Instant, search: Search, waiter: Waiter) {
        let quest = Quest {
            want: Some(search.want),
            trace: search.trace,
            deadline: waiter.deadline,
            ..self.quest(now, search.key)
        };
        let mut lookup = match &search.ask {
            Ask::Network => {
                let seeds = self.table.seeds(&search.key, self.config.k.get());
                Lookup::new(now, quest, seeds)
            }
            Ask::Only(contacts) => {
                let asked = contacts.len().min(MAX_ASKED);
                let seeds = contacts.iter().take(MAX_ASKED).cloned();
                Lookup::new(now, one_hop(quest, asked), seeds)
            }
        };
        lookup.merge_all(now, self.local_claims(now, &search.key));
        let find = Find {
            ask: search.ask,
            began_at: now,
            waiters: vec![waiter],
        };
        self.begin_lookup(lookup, LookupPurpose::Find(find));
    }

    /// Tells those who wait for a find and whose time is over, or who want no more than is known;
    /// with nobody left it ends.
    pub(super) fn serve_waiters(&mut self, now: Instant, lookup_id: LookupId) {
        let Some(running) = self.lookups.get_mut(lookup_id) else {
            return;
        };
        match &running.purpose {
            LookupPurpose::Find(find) if find.serves_anybody(now, &running.lookup) => {}
            _ => return,
        }
        let key = running.lookup.target();
        let local = self.local_claims(now, &key);
        let served = self.lookups.update_find(lookup_id, |lookup, find| {
            let served = find.take_served(now, lookup);
            lookup.merge_all(now, local);
            (served, lookup.found(now), find.waiters.is_empty())
        });
        if let Some((served, found, is_over)) = served {
            self.tell(&served, found.as_ref());
            if is_over {
                self.end_lookup(now, lookup_id);
            }
        }
    }

    /// Tells whoever still waits for a find that is over.
    pub(super) fn end_find(&mut self, now: Instant, mut lookup: Lookup, find: &Find) {
        if !find.waiters.is_empty() {
            // What changed here while it ran counts too, a withdrawal above all.
            lookup.merge_all(now, self.local_claims(now, &lookup.target()));
            self.tell(&find.waiters, lookup.found(now).as_ref());
        }
    }

    fn tell(&mut self, waiters: &[Waiter], found: Option<&Found>) {
        for waiter in waiters {
            let mut found = found.cloned().ok_or(DhtError::Unreachable);
            if let (Ok(found), false) = (&mut found, waiter.trace) {
                found.trace.clear();
            }
            self.done(waiter.operation, OperationResult::Found(found));
        }
    }

    fn local_claims(&mut self, now: Instant, key: &Key) -> Vec<LiveClaim> {
        let claims = self.store.live(now, key).map(|(claim, life)| LiveClaim {
            claim: claim.clone(),
            life,
        });
        claims.collect()
    }
}

/// All of those who are asked have to answer to prove an absence, near or far.
fn one_hop(quest: Quest, asked: usize) -> Quest {
    Quest {
        k: MAX_ASKED,
        alpha: ONE_HOP_ALPHA,
        replication: asked,
        quorum: asked,
        follows: false,
        ..quest
    }
}
