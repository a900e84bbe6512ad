//! A network of machines in one thread and virtual time, with seeded latency and loss.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::{Duration, Instant};

use macula_core::{
    Contact, Delivery, DialTarget, Extensions, Key, Metadata, NodeId, ProviderRecord, Realm,
    RecordDraft, SecretKey, ServiceName, Timestamp, Withdrawal, WithdrawalDraft,
};
use macula_dht::kad::{
    Ask, KadConfig, Kademlia, Local, OperationId, OperationResult, Outbound, Output, RequestId,
    Search,
};
use macula_dht::message::{LiveRecord, LiveWithdrawal, Request, Response};
use macula_dht::{AnnounceReport, DhtError, Found, WithdrawReport};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The network. A panic inside a test prints the seed.
pub(crate) struct VirtualNetwork {
    pub(crate) now: Instant,
    started: Instant,
    seed: u64,
    rng: StdRng,
    nodes: Vec<VirtualNode>,
    by_id: BTreeMap<NodeId, usize>,
    events: BTreeMap<(Instant, u64), Event>,
    timeouts: BTreeSet<(Instant, usize)>,
    event_count: u64,
    done: BTreeMap<(usize, OperationId), OperationResult>,
    dead: BTreeSet<usize>,
    /// Nodes that hold what they are told, but whose acknowledgements are lost.
    pub(crate) mute: BTreeSet<usize>,
    /// Milliseconds that a message takes.
    pub(crate) latency: Range<u64>,
    /// Share of messages that are lost.
    pub(crate) loss: f64,
    /// Everything that was delivered, for comparing runs.
    pub(crate) trace: Vec<String>,
}

struct VirtualNode {
    secret_key: SecretKey,
    serves: bool,
    machine: Kademlia,
    timeout: Option<Instant>,
    reached: BTreeSet<usize>,
}

enum Event {
    Request(usize, usize, Outbound),
    Response(usize, RequestId, Response),
    Failure(usize, RequestId),
    Reached(usize, usize),
}

impl Drop for VirtualNetwork {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed of the network: {}", self.seed);
        }
    }
}

impl VirtualNetwork {
    pub(crate) fn new(seed: u64) -> Self {
        let now = tokio::time::Instant::now().into_std();
        Self {
            now,
            started: now,
            seed,
            rng: StdRng::seed_from_u64(seed),
            nodes: Vec::new(),
            by_id: BTreeMap::new(),
            events: BTreeMap::new(),
            timeouts: BTreeSet::new(),
            event_count: 0,
            done: BTreeMap::new(),
            dead: BTreeSet::new(),
            mute: BTreeSet::new(),
            latency: 5..40,
            loss: 0.0,
            trace: Vec::new(),
        }
    }

    /// A network of serving nodes, each joined through the first.
    pub(crate) fn joined(seed: u64, count: usize) -> Self {
        let mut network = Self::new(seed);
        for node in 0..count {
            network.add(KadConfig::default(), true);
            if node > 0 {
                network.join(node, 0);
            }
        }
        network.run_for(Duration::from_secs(10));
        network
    }

    pub(crate) fn add(&mut self, config: KadConfig, serves: bool) -> usize {
        let index = self.nodes.len();
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
        bytes[8..16].copy_from_slice(&self.seed.to_be_bytes());
        let secret_key = SecretKey::from_bytes(&bytes);
        let node_id = secret_key.node_id();
        let local = Local { node_id, serves };
        let machine = Kademlia::new(config, local, self.seed ^ index as u64).unwrap();
        self.by_id.insert(node_id, index);
        self.nodes.push(VirtualNode {
            secret_key,
            serves,
            machine,
            timeout: None,
            reached: BTreeSet::new(),
        });
        index
    }

    /// Bootstraps a node with another and waits until it has joined.
    pub(crate) fn join(&mut self, node: usize, through: usize) -> usize {
        let target = DialTarget::from(self.contact(through));
        let now = self.now;
        self.machine(node).set_bootstrap(now, vec![target]);
        self.drain(node);
        self.dial(node, through);
        self.run_for(Duration::from_millis(200));
        let now = self.now;
        let operation = self.machine(node).join(now);
        match self.finish(node, operation) {
            OperationResult::Joined { contacts } => contacts,
            other => panic!("join came to {other:?}"),
        }
    }

    pub(crate) fn announce(
        &mut self,
        node: usize,
        service: &str,
        seq: u64,
    ) -> Result<AnnounceReport, DhtError> {
        let record = self.record(node, service, seq);
        let life = record.ttl();
        self.announce_all(node, vec![LiveRecord { record, life }])
    }

    pub(crate) fn announce_all(
        &mut self,
        node: usize,
        records: Vec<LiveRecord>,
    ) -> Result<AnnounceReport, DhtError> {
        let now = self.now;
        let operation = self.machine(node).announce(now, records);
        match self.finish(node, operation) {
            OperationResult::Announced(result) => result,
            other => panic!("announce came to {other:?}"),
        }
    }

    /// Announces a batch of this node's services; what became of each.
    pub(crate) fn announce_batch(
        &mut self,
        node: usize,
        services: &[String],
        seq: u64,
    ) -> Result<AnnounceReport, DhtError> {
        let records = services.iter().map(|service| LiveRecord {
            record: self.record(node, service, seq),
            life: TTL,
        });
        let records = records.collect();
        self.announce_all(node, records)
    }

    /// Begins to announce, and looks no further.
    pub(crate) fn begin_announce(&mut self, node: usize, service: &str) {
        let record = self.record(node, service, 1);
        let life = record.ttl();
        let now = self.now;
        let records = vec![LiveRecord { record, life }];
        self.machine(node).announce(now, records);
        self.drain(node);
    }

    /// The living nodes that hold a live record of the service, and its sequence number.
    pub(crate) fn holders(&mut self, service: &str) -> Vec<(usize, u64)> {
        let (now, key) = (self.now, service_key(service));
        let want = NonZeroUsize::MIN;
        let asker = NodeId::from_bytes([0; 32]);
        let mut holders = Vec::new();
        for node in (0..self.nodes.len()).filter(|node| !self.dead.contains(node)) {
            let request = Request::FindProviders { key, want };
            let answer = self.nodes[node].machine.answer(now, asker, request);
            if let Response::Providers(answer) = answer {
                let records = answer.records.iter();
                holders.extend(records.map(|live| (node, live.record.seq())));
            }
        }
        holders
    }

    /// The living nodes, closest to the service first.
    pub(crate) fn closest_nodes(&self, service: &str) -> Vec<usize> {
        let key = service_key(service);
        let mut nodes: Vec<usize> = (0..self.nodes.len()).collect();
        nodes.retain(|node| !self.dead.contains(node));
        nodes.sort_by_key(|node| {
            let node_id = self.nodes[*node].secret_key.node_id();
            Key::of_node(&node_id).distance(&key)
        });
        nodes
    }

    pub(crate) fn withdraw(
        &mut self,
        node: usize,
        service: &str,
        seq: u64,
    ) -> Result<WithdrawReport, DhtError> {
        self.withdraw_batch(node, &[service.to_owned()], seq)
    }

    pub(crate) fn withdraw_batch(
        &mut self,
        node: usize,
        services: &[String],
        seq: u64,
    ) -> Result<WithdrawReport, DhtError> {
        let until = self.wall_clock().saturating_add(TTL);
        let secret_key = &self.nodes[node].secret_key;
        let withdrawals = services.iter().map(|service| {
            let draft = WithdrawalDraft {
                realm: Realm::default(),
                service: service.parse().unwrap(),
                seq,
                until,
            };
            LiveWithdrawal {
                withdrawal: Withdrawal::sign(secret_key, draft).unwrap(),
                life: TTL,
            }
        });
        let withdrawals = withdrawals.collect();
        let now = self.now;
        let operation = self.machine(node).withdraw(now, withdrawals);
        match self.finish(node, operation) {
            OperationResult::Withdrawn(result) => result,
            other => panic!("withdraw came to {other:?}"),
        }
    }

    pub(crate) fn find(&mut self, node: usize, service: &str) -> Result<Found, DhtError> {
        self.find_with(node, service, Ask::Network)
    }

    pub(crate) fn find_with(
        &mut self,
        node: usize,
        service: &str,
        ask: Ask,
    ) -> Result<Found, DhtError> {
        let search = Search {
            key: service_key(service),
            want: NonZeroUsize::new(64).unwrap(),
            timeout: FIND_TIMEOUT,
            ask,
            trace: false,
        };
        let started = self.now;
        let now = self.now;
        let operation = self.machine(node).find(now, search);
        let result = self.finish(node, operation);
        assert!(
            self.now - started <= FIND_TIMEOUT,
            "find ran past its deadline"
        );
        match result {
            OperationResult::Found(result) => result,
            other => panic!("find came to {other:?}"),
        }
    }

    /// Where this node finds another one by its id.
    pub(crate) fn locate(
        &mut self,
        node: usize,
        node_id: NodeId,
    ) -> Result<Option<Contact>, DhtError> {
        let started = self.now;
        let operation = self.machine(node).locate(started, node_id, FIND_TIMEOUT);
        let result = self.finish(node, operation);
        assert!(self.now - started <= FIND_TIMEOUT, "it ran past its end");
        match result {
            OperationResult::Located(result) => result,
            other => panic!("locate came to {other:?}"),
        }
    }

    /// Who a find by this node shows, as node indices.
    pub(crate) fn providers(&mut self, node: usize, service: &str) -> Vec<usize> {
        let found = self.find(node, service).unwrap();
        let mut providers: Vec<_> = found
            .providers
            .iter()
            .map(|found| self.by_id[&found.record.provider()])
            .collect();
        providers.sort_unstable();
        providers
    }

    pub(crate) fn record(&self, node: usize, service: &str, seq: u64) -> ProviderRecord {
        let draft = RecordDraft {
            realm: Realm::default(),
            service: service.parse().unwrap(),
            addresses: self.contact(node).addresses,
            metadata: Metadata::new(),
            delivery: Delivery::AtLeastOnce,
            seq,
            issued_at: self.wall_clock(),
            ttl: TTL,
            extensions: Extensions::default(),
        };
        ProviderRecord::sign(&self.nodes[node].secret_key, draft).unwrap()
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.dead.insert(node);
        self.rearm(node);
    }

    pub(crate) fn revive(&mut self, node: usize) {
        self.dead.remove(&node);
        self.rearm(node);
    }

    pub(crate) fn machine(&mut self, node: usize) -> &mut Kademlia {
        &mut self.nodes[node].machine
    }

    pub(crate) fn contact(&self, node: usize) -> Contact {
        let node_id = self.nodes[node].secret_key.node_id();
        let octets = u32::try_from(node).unwrap() + u32::from(Ipv4Addr::new(10, 0, 0, 1));
        Contact::new(node_id, [SocketAddr::from((Ipv4Addr::from(octets), 4433))])
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
        self.now = until;
    }

    fn finish(&mut self, node: usize, operation: OperationId) -> OperationResult {
        let until = self.now + Duration::from_secs(60);
        loop {
            self.drain(node);
            if let Some(result) = self.done.remove(&(node, operation)) {
                return result;
            }
            assert!(self.step(until), "operation never ends");
        }
    }

    /// Carries the next event or timeout out, if there is one by `until`.
    fn step(&mut self, until: Instant) -> bool {
        let event_at = self.events.keys().next().map(|(at, _)| *at);
        let timeout = self.timeouts.first().copied();
        let next = event_at.into_iter().chain(timeout.map(|(at, _)| at)).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            return false;
        };
        self.now = self.now.max(next);
        match timeout {
            Some((at, node)) if Some(at) <= event_at.or(Some(at)) => {
                let now = self.now;
                self.machine(node).handle_timeout(now);
                self.machine(node).check_invariants();
                self.drain(node);
            }
            _ => {
                if let Some((_, event)) = self.events.pop_first() {
                    self.carry_out(event);
                }
            }
        }
        true
    }

    fn carry_out(&mut self, event: Event) {
        let now = self.now;
        let touched = match event {
            Event::Request(from, to, outbound) => {
                self.serve(from, to, outbound);
                to
            }
            Event::Response(node, request_id, response) => {
                self.machine(node)
                    .handle_response(now, request_id, response);
                node
            }
            Event::Failure(node, request_id) => {
                self.machine(node).handle_failure(now, request_id);
                node
            }
            Event::Reached(node, other) => {
                let contact = self.contact(other);
                self.machine(node).handle_reached(now, contact);
                node
            }
        };
        self.machine(touched).check_invariants();
        self.drain(touched);
    }

    fn serve(&mut self, from: usize, to: usize, outbound: Outbound) {
        let now = self.now;
        let request_id = outbound.request_id;
        self.trace.push(format!(
            "{:?} {from} {to} {:?}",
            now - self.started,
            outbound.request
        ));
        if self.dead.contains(&to) {
            return;
        }
        if !self.nodes[to].serves {
            self.schedule(Event::Failure(from, request_id));
            return;
        }
        self.dial(from, to);
        let from_id = self.nodes[from].secret_key.node_id();
        let is_mute = matches!(outbound.request, Request::Store { .. }) && self.mute.contains(&to);
        let response = self.machine(to).answer(now, from_id, outbound.request);
        if !self.is_lost() && !is_mute {
            self.schedule(Event::Response(from, request_id, response));
        }
    }

    /// A dial that succeeds proves the addresses of the dialled; a probe proves the dialler's.
    fn dial(&mut self, from: usize, to: usize) {
        if from == to || self.dead.contains(&to) || !self.nodes[to].serves {
            return;
        }
        if self.nodes[from].reached.insert(to) {
            self.schedule(Event::Reached(from, to));
        }
        if self.nodes[from].serves && self.nodes[to].reached.insert(from) {
            self.schedule(Event::Reached(to, from));
        }
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].machine.poll_output() {
            if self.dead.contains(&node) {
                continue;
            }
            match output {
                Output::Send(outbound) => {
                    let to = self.by_id[&outbound.to.node_id];
                    if !self.is_lost() {
                        self.schedule(Event::Request(node, to, outbound));
                    }
                }
                Output::Dial(DialTarget::Pinned { node_id, .. }) => {
                    let to = self.by_id[&node_id];
                    if !self.dead.contains(&to) {
                        // The owner reports every successful dial, known contact or not.
                        self.nodes[node].reached.remove(&to);
                        self.dial(node, to);
                    }
                }
                Output::Dial(target) => panic!("dials {target}"),
                Output::Done { operation, result } => {
                    self.done.insert((node, operation), result);
                }
            }
        }
        self.rearm(node);
    }

    fn rearm(&mut self, node: usize) {
        let timeout = self.nodes[node].machine.poll_timeout();
        let timeout = timeout.filter(|_| !self.dead.contains(&node));
        if let Some(at) = std::mem::replace(&mut self.nodes[node].timeout, timeout) {
            self.timeouts.remove(&(at, node));
        }
        self.timeouts.extend(timeout.map(|at| (at, node)));
    }

    fn schedule(&mut self, event: Event) {
        let latency = Duration::from_millis(self.rng.random_range(self.latency.clone()));
        self.event_count += 1;
        let at = self.now + latency;
        self.events.insert((at, self.event_count), event);
    }

    fn is_lost(&mut self) -> bool {
        self.rng.random_bool(self.loss)
    }

    fn wall_clock(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_000).saturating_add(self.now - self.started)
    }
}

pub(crate) fn service_key(service: &str) -> Key {
    let name: ServiceName = service.parse().unwrap();
    Key::of_service(&Realm::default(), &name)
}

/// Services whose keys are next to each other: so many in a row of so many there are.
pub(crate) fn neighbours(count: usize, among: usize) -> Vec<String> {
    let mut services: Vec<String> = (0..among).map(|index| format!("b.n{index}")).collect();
    services.sort_by_key(|service| service_key(service));
    services.truncate(count);
    services
}

/// What every record of these tests lives.
pub(crate) const TTL: Duration = Duration::from_secs(300);

const FIND_TIMEOUT: Duration = Duration::from_secs(5);
