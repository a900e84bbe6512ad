//! Kademlia as a machine without sockets, tasks, locks, clock or global randomness.
//!
//! The owner tells [`Kademlia`] what happened and what it wants, then drains
//! [`poll_output`](Kademlia::poll_output) and re-arms its timer with
//! [`poll_timeout`](Kademlia::poll_timeout). The same seed and inputs give the same outputs.
//!
//! The paper: Maymounkov and Mazières, "Kademlia: a peer-to-peer information system based on the
//! XOR metric", 2002.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::time::{Duration, Instant};

use macula_core::{Contact, Key, NodeId};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::message::{Request, Response};

mod config;
mod output;

mod closest;
mod contact;
mod kbucket;
mod known_contact;
mod moment;
mod routing_table;
mod rtt;
mod subnet;

mod finds;
mod locate;
mod lookup;
mod lookups;

mod answer;
mod expired;
mod provider_store;

mod announce;
mod holders;
mod placement;
mod publication;
mod region;
mod regions;
mod walks;

mod maintenance;
mod refresh;
mod requests;
mod round_trips;

pub use config::{KadConfig, KadConfigError, Local, StoreConfig};
pub use contact::PlacedContact;
pub use maintenance::MAX_BOOTSTRAP;
pub use output::{
    Ask, KadStats, MAX_ASKED, OperationId, OperationResult, Outbound, Output, RequestId, Search,
};
pub use publication::MAX_PUBLISHED;

use holders::Holders;
use kbucket::Limits;
use lookups::Lookups;
use maintenance::Maintenance;
use provider_store::ProviderStore;
use publication::Publication;
use refresh::RefreshWalks;
use regions::Regions;
use requests::{Due, InFlight, LookupId, Purpose, Requests};
use round_trips::RoundTrips;
use routing_table::RoutingTable;

/// A node of the DHT.
///
/// After any call that takes `&mut self`, the owner drains the outputs and re-arms the timeout.
///
// Invariant: between two calls there is no queued work, every lookup waits for a request in flight
// or for a deadline, and every placement that is begun and not settled for an answer or for a walk
// that runs.
#[derive(Debug)]
pub struct Kademlia {
    config: KadConfig,
    local: Local,
    local_key: Key,
    rng: StdRng,
    table: RoutingTable,
    store: ProviderStore,
    holders: Holders,
    regions: Regions,
    requests: Requests,
    round_trips: RoundTrips,
    lookups: Lookups,
    publications: BTreeMap<OperationId, Publication>,
    maintenance: Maintenance,
    refresh_walks: RefreshWalks,
    work: VecDeque<Work>,
    outputs: VecDeque<Output>,
    next_id: u64,
    stats: KadStats,
}

/// What has to be looked at again before a call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Lookup(LookupId),
    Publication(OperationId),
}

impl Kademlia {
    /// Creates a node that knows nobody.
    ///
    /// # Errors
    /// [`KadConfigError`] when the settings make no sense together.
    pub fn new(config: KadConfig, local: Local, seed: u64) -> Result<Self, KadConfigError> {
        config.check()?;
        let local_key = Key::of_node(&local.node_id);
        Ok(Self {
            local,
            local_key,
            rng: StdRng::seed_from_u64(seed),
            table: RoutingTable::new(local_key, Limits::from(&config)),
            store: ProviderStore::new(local.node_id, config.store),
            holders: Holders::new(3 * config.replication.get()),
            regions: Regions::default(),
            requests: Requests::default(),
            round_trips: RoundTrips::new(config.request_timeout),
            lookups: Lookups::default(),
            publications: BTreeMap::new(),
            maintenance: Maintenance::default(),
            refresh_walks: RefreshWalks::default(),
            work: VecDeque::new(),
            outputs: VecDeque::new(),
            next_id: 0,
            stats: KadStats::default(),
            config,
        })
    }

    /// Who the machine speaks for.
    pub fn local(&self) -> Local {
        self.local
    }

    /// Takes the answer to a request. Answers to none, or too late, are counted and ignored.
    pub fn handle_response(&mut self, now: Instant, request_id: RequestId, response: Response) {
        let Some(request) = self.requests.end(request_id) else {
            self.stats.answers_ignored += 1;
            return;
        };
        let round_trip = now.saturating_duration_since(request.sent_at);
        self.table.answered(now, &request.to, round_trip);
        self.round_trips.record(round_trip);
        self.settle(now, request, Some(response));
        self.run(now);
    }

    /// Takes the failure of a request: it could not be sent, or was refused or lost.
    pub fn handle_failure(&mut self, now: Instant, request_id: RequestId) {
        match self.requests.end(request_id) {
            Some(request) => self.fail(now, request),
            None => self.stats.answers_ignored += 1,
        }
        self.run(now);
    }

    /// Takes note that a request was not sent, for want of room at this node: whoever it was for is
    /// not to blame.
    pub fn handle_unsent(&mut self, now: Instant, request_id: RequestId) {
        match self.requests.end(request_id) {
            Some(request) => {
                self.stats.requests_unsent += 1;
                if request.purpose == Purpose::Ping {
                    self.table.not_retried(now, &request.to);
                }
                self.settle(now, request, None);
            }
            None => self.stats.answers_ignored += 1,
        }
        self.run(now);
    }

    /// Takes note that a peer has left the network in order: it is asked no more, and what it
    /// held is gone with it.
    pub fn handle_departed(&mut self, now: Instant, node_id: &NodeId) {
        self.holders.departed(node_id);
        if let Some(contact) = self.table.remove(node_id) {
            self.remember_former(now, contact);
        }
    }

    /// Does what is due: expiry, timeouts, refreshes.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.store.sweep(now);
        while let Some(due) = self.requests.pop_due(now) {
            match due {
                Due::SlotRelease(lookup_id, node_id) => self.release_slot(lookup_id, &node_id),
                Due::Overdue(request) => self.fail(now, request),
            }
        }
        let overdue = self.lookups.overdue(now).map(Work::Lookup);
        self.work.extend(overdue);
        self.maintain(now);
        self.run(now);
    }

    /// What to do next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > KEPT_OUTPUTS {
            // An idle node keeps no memory for a burst.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.requests.next_event(),
            self.lookups.next_event(),
            self.store.next_expiry(),
            self.maintenance.next_event(),
            self.table.next_retry(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Counters and sizes.
    pub fn stats(&self) -> KadStats {
        KadStats {
            contacts: self.table.len(),
            replacements: self.table.replacements(),
            contacts_refused: self.table.refused(),
            records: self.store.foreign_records(),
            own_records: self.store.own_records(),
            tombstones: self.store.tombstones(),
            tombstones_forgotten: self.store.tombstones_forgotten(),
            operations: self.operations(),
            requests_in_flight: self.requests.len(),
            ..self.stats
        }
    }

    /// How many contacts are in the routing table.
    pub fn contact_count(&self) -> usize {
        self.table.len()
    }

    /// The contacts in the routing table, closest to this node first.
    pub fn contacts(&self) -> Vec<Contact> {
        self.table.contacts()
    }

    /// The contacts closest to a point, closest first: those that answers name. None of them
    /// failed to answer when it was last asked.
    pub fn closest(&self, key: &Key, count: usize) -> impl Iterator<Item = &Contact> {
        self.table.closest(key).take(count).map(Deref::deref)
    }

    /// How long a contact takes to answer, smoothed; `None` when it is not known or never was
    /// asked.
    pub fn rtt(&self, node_id: &NodeId) -> Option<Duration> {
        self.table.rtt(node_id)
    }

    /// Whether this node holds a claim of a provider under a key. For tests and simulation.
    pub fn holds(&self, now: Instant, key: &Key, provider: &NodeId) -> bool {
        let expires_at = self.store.expires_at(key, provider);
        expires_at.is_some_and(|expires_at| expires_at > now)
    }

    /// Takes contacts that were reached before, as a node has them that has been up for long: no
    /// lookup begins. For simulation.
    pub fn restore(&mut self, now: Instant, contacts: impl IntoIterator<Item = PlacedContact>) {
        for contact in contacts {
            self.table.admit(now, contact);
        }
        self.begin_rounds(now);
    }

    /// Asserts what must hold between any two calls. For tests and simulation.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check_invariants(&self) {
        assert!(self.work.is_empty(), "work left undone");
        self.table.check_invariants();
        self.store.check_invariants();
        self.holders.check_invariants();
        self.regions.check_invariants();
        self.maintenance.check_invariants();
        self.refresh_walks.check_invariants();
        self.lookups.check_invariants();
        self.requests.check_invariants();
        self.check_publications();
    }

    fn send(&mut self, now: Instant, to: Contact, request: Request, purpose: Purpose) {
        // Where we have reached it ourselves, rather than where others say it is: who names a
        // wrong address must not make it look dead.
        let known = self.table.contact(&to.node_id);
        let to = known.map_or(to, |known| Contact::clone(known));
        let slot_until =
            matches!(purpose, Purpose::Lookup(_)).then(|| now + self.slot_timeout(&to.node_id));
        let timeout = self.config.request_timeout;
        let request_id = self.requests.begin(InFlight {
            to: to.node_id,
            purpose,
            sent_at: now,
            slot_until,
            deadline: now + timeout,
        });
        self.stats.requests_sent += 1;
        self.outputs.push_back(Output::Send(Outbound {
            request_id,
            to,
            request,
            timeout,
        }));
    }

    fn fail(&mut self, now: Instant, request: InFlight) {
        self.stats.requests_failed += 1;
        if let Some(contact) = self.table.failed(now, &request.to) {
            self.stats.contacts_evicted += 1;
            self.lose(now, contact);
        }
        self.settle(now, request, None);
    }

    /// Hands an answer, or `None` for a failure, to whatever waits for it.
    fn settle(&mut self, now: Instant, request: InFlight, response: Option<Response>) {
        let fits = match request.purpose {
            Purpose::Lookup(lookup_id) => {
                self.handle_looked_up(now, lookup_id, &request.to, response)
            }
            Purpose::Place {
                operation,
                placements,
            } => {
                let fits = matches!(
                    response,
                    None | Some(Response::Stored { .. } | Response::Refused)
                );
                self.handle_placed(&request.to, (operation, placements), response);
                fits
            }
            Purpose::Ping => matches!(response, None | Some(Response::Pong)),
        };
        self.stats.answers_mismatched += u64::from(!fits);
    }

    /// Looks again at everything that something happened to.
    fn run(&mut self, now: Instant) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Lookup(lookup_id) => self.advance_lookup(now, lookup_id),
                Work::Publication(operation) => self.advance_publication(now, operation),
            }
        }
    }

    fn queue(&mut self, work: Work) {
        self.work.push_back(work);
    }

    fn done(&mut self, operation: OperationId, result: OperationResult) {
        self.outputs.push_back(Output::Done { operation, result });
    }

    fn operations(&self) -> usize {
        self.lookups.operations() + self.publications.len()
    }

    fn next_operation(&mut self) -> OperationId {
        OperationId(self.next_id())
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// Outputs that a node has room for while it has none.
const KEPT_OUTPUTS: usize = 4;
