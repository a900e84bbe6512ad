//! Dials: one at a time for each peer, however many wait for it.
//!
//! A dial waits for room in the pool, then for its turn, then resolves, shakes hands and says
//! hello; one deadline covers all of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use macula_core::{DialTarget, HostPort, NodeId};
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::attempt::Attempt;
use super::backoff::Backoffs;
use super::hello::Purpose;
use super::horizon::after;
use super::link::{Greeted, Lease};
use super::node::Node;
use super::pace::Pace;
use super::pool::Slot;
use super::room::Room;
use super::stats::Counters;
use super::trace;
use crate::DialError;

/// The dials under way, and the peers not to be dialled yet.
pub(super) struct Dials(Mutex<State>);

struct State {
    running: BTreeMap<Key, Running>,
    next_number: u64,
    backoffs: Backoffs,
    /// Whom a host led to that was dialled without knowing who is there.
    led_to: BTreeMap<HostKey, NodeId>,
}

/// What makes two dials the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Node(NodeId),
    Host(HostKey),
}

type HostKey = (String, u16);

#[derive(Clone)]
struct Running {
    hosts: Vec<HostPort>,
    outcome: watch::Receiver<Option<Outcome>>,
    /// The peer has connected to us in the meantime.
    arrived: Arc<Notify>,
}

type Outcome = Result<Reached, DialError>;

/// Whom a dial has led to. While it is held, the connection is not evicted: whoever waited for it
/// shall find it.
#[derive(Clone)]
pub(super) struct Reached {
    pub(super) peer: NodeId,
    _lease: Arc<Lease>,
}

impl Reached {
    fn new(lease: Lease) -> Self {
        Self {
            peer: lease.link().node_id(),
            _lease: Arc::new(lease),
        }
    }
}

impl Dials {
    pub(super) fn new(rng: StdRng) -> Self {
        Self(Mutex::new(State {
            running: BTreeMap::new(),
            next_number: 0,
            backoffs: Backoffs::new(rng),
            led_to: BTreeMap::new(),
        }))
    }

    /// How many are under way, those included that wait for room or for their turn.
    pub(super) fn running(&self) -> usize {
        self.state().running.len()
    }

    /// A connection with the peer has come about: it lives, and whoever waits for a dial of it
    /// need not wait any longer.
    pub(super) fn arrived(&self, node_id: &NodeId) {
        let mut state = self.state();
        if let Some(running) = state.running.get(&Key::Node(*node_id)) {
            running.arrived.notify_waiters();
        }
        let State {
            backoffs, led_to, ..
        } = &mut *state;
        backoffs.clear(&Key::Node(*node_id));
        for (host, _) in led_to.iter().filter(|(_, led_to)| *led_to == node_id) {
            backoffs.clear(&Key::Host(host.clone()));
        }
    }

    fn finished(&self, node: &Node, target: &DialTarget, outcome: &Outcome) {
        let key = key(target);
        let mut state = self.state();
        state.running.remove(&key);
        match (key, outcome) {
            (Key::Host(host), Ok(reached)) => state.remember(node, host, reached.peer),
            (Key::Node(_), Ok(_)) => {}
            // It has connected to us while we dialled in vain.
            (Key::Node(node_id), Err(_)) if node.pool.is_connected(&node_id) => {}
            (key, Err(error)) if blames_peer(error) => {
                if state.backoffs.failed(Instant::now(), key, hosts(target)) {
                    node.counters.dials_forgotten.add();
                }
            }
            (_, Err(_)) => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A connection with whom the key stands for, if there is one.
    fn connected(&self, node: &Node, key: &Key) -> Option<Lease> {
        match key {
            Key::Node(node_id) => node.pool.lease(node_id),
            Key::Host(host) => {
                let led_to = self.led_to.get(host)?;
                // One that has only dialled us since says nothing of where it is reached.
                let is_proved = node.pool.has_proved(led_to);
                is_proved.then(|| node.pool.lease(led_to)).flatten()
            }
        }
    }

    fn remember(&mut self, node: &Node, host: HostKey, peer: NodeId) {
        self.backoffs.clear(&Key::Host(host.clone()));
        if self.led_to.len() == MAX_LED_TO && !self.led_to.contains_key(&host) {
            self.led_to.retain(|_, peer| node.pool.is_connected(peer));
            if self.led_to.len() == MAX_LED_TO {
                self.led_to.pop_first();
                node.counters.dials_forgotten.add();
            }
        }
        self.led_to.insert(host, peer);
    }
}

/// Whether dialling again at once is likely to fail in the same way.
fn blames_peer(error: &DialError) -> bool {
    !matches!(
        error,
        DialError::Closed
            | DialError::PoolFull
            | DialError::Busy
            | DialError::OwnNode
            | DialError::NoAddress
    )
}

/// Dials a peer, or waits for a dial of it that is under way. The dial goes on when the future is
/// dropped.
pub(super) async fn dial(node: &Arc<Node>, target: &DialTarget) -> Outcome {
    let (running, joined) = match join_or_start(node, target)? {
        Begun::Connected(reached) => return Ok(reached),
        Begun::Started(running) => (running, false),
        Begun::Joined(running) => (running, true),
    };
    let knows_more = hosts(target)
        .iter()
        .any(|host| !running.hosts.contains(host));
    let outcome = wait(node, target, running).await;
    if outcome.is_ok() || !joined || !knows_more {
        return outcome;
    }
    // The dial that was joined did not know all the addresses that we know.
    match join_or_start(node, target)? {
        Begun::Connected(reached) => Ok(reached),
        Begun::Started(running) | Begun::Joined(running) => wait(node, target, running).await,
    }
}

/// How a dial begins.
enum Begun {
    Started(Running),
    Joined(Running),
    /// There is a connection by now.
    Connected(Reached),
}

/// Waits for the end of a dial, or for the peer to connect to us.
async fn wait(node: &Node, target: &DialTarget, mut running: Running) -> Outcome {
    let connected = || node.dials.state().connected(node, &key(target));
    let arrived = running.arrived.notified();
    if let Some(lease) = connected() {
        return Ok(Reached::new(lease));
    }
    tokio::select! {
        biased;
        outcome = end(&mut running.outcome) => return outcome,
        () = arrived => {}
    }
    match connected() {
        Some(lease) => Ok(Reached::new(lease)),
        // It has gone again.
        None => end(&mut running.outcome).await,
    }
}

async fn end(outcome: &mut watch::Receiver<Option<Outcome>>) -> Outcome {
    match outcome.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Err(DialError::Closed)),
        Err(_) => Err(DialError::Closed),
    }
}

fn join_or_start(node: &Arc<Node>, target: &DialTarget) -> Result<Begun, DialError> {
    if node.is_closing() {
        return Err(DialError::Closed);
    }
    let key = key(target);
    if hosts(target).is_empty() {
        return Err(DialError::NoAddress);
    }
    if key == Key::Node(node.transport.node_id()) {
        return Err(DialError::OwnNode);
    }
    let mut state = node.dials.state();
    // A dial is in the list until its connection is in the pool: who finds neither dials.
    if let Some(lease) = state.connected(node, &key) {
        return Ok(Begun::Connected(Reached::new(lease)));
    }
    // One whose task has come to grief reports nothing any more, and is replaced.
    if let Some(running) = state.running.get(&key)
        && running.outcome.has_changed().is_ok()
    {
        return Ok(Begun::Joined(running.clone()));
    }
    if let Some(wait) = state
        .backoffs
        .remaining(Instant::now(), &key, hosts(target))
    {
        node.counters.dials_backed_off.add();
        return Err(DialError::BackingOff(wait));
    }
    if state.running.len() >= MAX_DIALS {
        node.counters.dials_starved.add();
        return Err(DialError::Busy);
    }
    let (report, outcome) = watch::channel(None);
    let running = Running {
        hosts: hosts(target).to_vec(),
        outcome,
        arrived: Arc::default(),
    };
    state.running.insert(key, running.clone());
    state.next_number += 1;
    let number = state.next_number;
    drop(state);
    node.counters.dials.add();
    let attempt = Attempt::new(node, target.clone(), Purpose::Requests);
    start(node, number, attempt, report);
    Ok(Begun::Started(running))
}

fn start(node: &Arc<Node>, number: u64, attempt: Attempt, report: watch::Sender<Option<Outcome>>) {
    let weak = Arc::downgrade(node);
    let work = Work::new(node);
    let begun = Instant::now();
    let span = trace::dial_span(number, &attempt.target);
    trace::dial_begun(number, &attempt.target);
    node.spawn(async move {
        let connected = work.connect(&attempt).instrument(span).await;
        let Some(node) = weak.upgrade() else { return };
        let attached = connected.and_then(|(slot, greeted)| {
            let lease = node.attach(slot, greeted);
            lease.ok_or(DialError::Closed)
        });
        match &attached {
            Ok(lease) => trace::dial_succeeded(number, lease.link(), begun.elapsed()),
            Err(error) => {
                node.counters.dial_failed(error);
                trace::dial_failed(number, &attempt.target, error, begun.elapsed());
            }
        }
        let outcome = attached.map(Reached::new);
        node.dials.finished(&node, &attempt.target, &outcome);
        report.send_replace(Some(outcome));
    });
}

/// What a dial needs of its node; holds it weakly.
struct Work {
    node: Weak<Node>,
    room: Arc<Room>,
    pace: Arc<Pace>,
    counters: Arc<Counters>,
    limit: Duration,
}

impl Work {
    fn new(node: &Arc<Node>) -> Self {
        Self {
            node: Arc::downgrade(node),
            room: Arc::clone(node.pool.room()),
            pace: Arc::clone(&node.pace),
            counters: Arc::clone(&node.counters),
            limit: node.config.dial_timeout,
        }
    }

    async fn connect(&self, attempt: &Attempt) -> Result<(Slot, Greeted), DialError> {
        let deadline = after(Instant::now(), self.limit);
        let waiting = self.counters.dials_waiting.enter();
        let slot = timeout_at(deadline, self.room())
            .await
            .unwrap_or(Err(DialError::PoolFull))?;
        let turn = timeout_at(deadline, self.pace.turn())
            .await
            .map_err(|_| DialError::Busy)?;
        drop(waiting);
        let left = deadline - Instant::now();
        let greeted = attempt
            .run_in_turn(turn, deadline)
            .await
            .unwrap_or_else(|_| Err(self.out_of_time(left)))?;
        Ok((slot, greeted))
    }

    /// A peer that was given less than half of the time is not to blame.
    fn out_of_time(&self, given: Duration) -> DialError {
        if given < self.limit / 2 {
            DialError::Busy
        } else {
            DialError::Timeout(self.limit)
        }
    }

    async fn room(&self) -> Result<Slot, DialError> {
        let take = || match self.node.upgrade() {
            Some(node) => node.reserve().ok().map(Ok),
            None => Some(Err(DialError::Closed)),
        };
        self.room.wait(take).await
    }
}

fn key(target: &DialTarget) -> Key {
    match target {
        DialTarget::Pinned { node_id, .. } => Key::Node(*node_id),
        DialTarget::FirstUse { host } => Key::Host((host.host.clone(), host.port)),
    }
}

fn hosts(target: &DialTarget) -> &[HostPort] {
    match target {
        DialTarget::Pinned { hosts, .. } => hosts,
        DialTarget::FirstUse { host } => std::slice::from_ref(host),
    }
}

/// The most dials under way, those included that wait for room or for their turn.
const MAX_DIALS: usize = 4096;

/// The most hosts of which it is remembered whom they led to.
const MAX_LED_TO: usize = 256;
