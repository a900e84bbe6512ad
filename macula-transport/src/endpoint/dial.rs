//! Dials: one at a time for each peer, however many wait for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use macula_core::{DialTarget, HostPort, NodeId};
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::backoff::Backoffs;
use super::handshake::greet;
use super::hello::{Hello, Purpose};
use super::link::Greeted;
use super::node::Node;
use super::pool::Slot;
use crate::{CloseCode, DialError, Transport};

/// The dials under way, and the peers not to be dialled yet.
pub(super) struct Dials(Mutex<State>);

struct State {
    running: BTreeMap<Key, Running>,
    backoffs: Backoffs,
}

/// What makes two dials the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Node(NodeId),
    Host(String, u16),
}

#[derive(Clone)]
struct Running {
    hosts: Vec<HostPort>,
    outcome: watch::Receiver<Option<Outcome>>,
}

type Outcome = Result<NodeId, DialError>;

impl Dials {
    pub(super) fn new(rng: StdRng) -> Self {
        Self(Mutex::new(State {
            running: BTreeMap::new(),
            backoffs: Backoffs::new(rng),
        }))
    }

    /// The peer has shown that it lives.
    pub(super) fn clear_backoff(&self, node_id: &NodeId) {
        self.state().backoffs.clear(node_id);
    }

    fn finished(&self, key: &Key, hosts: &[HostPort], outcome: &Outcome) {
        let mut state = self.state();
        state.running.remove(key);
        match (key, outcome) {
            (Key::Node(node_id), Err(error)) if blames_peer(error) => {
                state.backoffs.failed(Instant::now(), *node_id, hosts);
            }
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether dialling again at once is likely to fail in the same way.
fn blames_peer(error: &DialError) -> bool {
    !matches!(
        error,
        DialError::Closed | DialError::PoolFull | DialError::OwnNode | DialError::NoAddress
    )
}

/// Dials a peer, or waits for a dial of it that is under way. The dial goes on when the future is
/// dropped.
pub(super) async fn dial(node: &Arc<Node>, target: &DialTarget) -> Outcome {
    let (running, joined) = match join_or_start(node, target)? {
        Begun::Connected(peer) => return Ok(peer),
        Begun::Started(running) => (running, false),
        Begun::Joined(running) => (running, true),
    };
    let outcome = wait(running.outcome).await;
    let knows_more = hosts(target)
        .iter()
        .any(|host| !running.hosts.contains(host));
    if outcome.is_ok() || !joined || !knows_more {
        return outcome;
    }
    // The dial that was joined did not know all the addresses that we know.
    match join_or_start(node, target)? {
        Begun::Connected(peer) => Ok(peer),
        Begun::Started(running) | Begun::Joined(running) => wait(running.outcome).await,
    }
}

/// How a dial begins.
enum Begun {
    Started(Running),
    Joined(Running),
    /// Another dial has just ended well.
    Connected(NodeId),
}

async fn wait(mut outcome: watch::Receiver<Option<Outcome>>) -> Outcome {
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
    // One whose task has come to grief reports nothing any more, and is replaced.
    if let Some(running) = state.running.get(&key)
        && running.outcome.has_changed().is_ok()
    {
        return Ok(Begun::Joined(running.clone()));
    }
    // A dial is in the list until its connection is in the pool: who finds neither dials.
    if let Key::Node(node_id) = &key
        && node.pool.lease(node_id).is_some()
    {
        return Ok(Begun::Connected(*node_id));
    }
    if let Key::Node(node_id) = &key
        && let Some(wait) = state
            .backoffs
            .remaining(Instant::now(), node_id, hosts(target))
    {
        return Err(DialError::BackingOff(wait));
    }
    // Bounded by the pool: every dial holds a slot of it.
    let slot = node.reserve().map_err(|_| DialError::PoolFull)?;
    let (report, outcome) = watch::channel(None);
    let running = Running {
        hosts: hosts(target).to_vec(),
        outcome,
    };
    state.running.insert(key.clone(), running.clone());
    drop(state);
    node.counters.dials.add();
    start(node, target.clone(), slot, report);
    Ok(Begun::Started(running))
}

fn start(node: &Arc<Node>, target: DialTarget, slot: Slot, report: watch::Sender<Option<Outcome>>) {
    let weak = Arc::downgrade(node);
    let attempt = Attempt::new(node, target, Purpose::Requests);
    node.spawn(async move {
        let greeted = attempt.run().await;
        let Some(node) = weak.upgrade() else { return };
        // A lease until the outcome is out: the connection must not be evicted before it is used.
        let (outcome, _lease) = match greeted {
            Ok(greeted) => {
                let peer = greeted.connection.peer();
                match node.attach(slot, greeted) {
                    Some(lease) => (Ok(peer), Some(lease)),
                    None => (Err(DialError::Closed), None),
                }
            }
            Err(error) => {
                drop(slot);
                node.counters.dial_failures.add();
                tracing::debug!(target = %attempt.target, %error, "dial failed");
                (Err(error), None)
            }
        };
        let (key, hosts) = (key(&attempt.target), hosts(&attempt.target));
        node.dials.finished(&key, hosts, &outcome);
        report.send_replace(Some(outcome));
    });
}

/// One dial, hello included.
pub(super) struct Attempt {
    target: DialTarget,
    transport: Arc<dyn Transport>,
    hello: Hello,
    limit: Duration,
}

impl Attempt {
    pub(super) fn new(node: &Node, target: DialTarget, purpose: Purpose) -> Self {
        Self {
            target,
            transport: Arc::clone(&node.transport),
            hello: node.hello(None, purpose),
            limit: node.config.dial_timeout,
        }
    }

    /// One deadline covers name resolution, handshake and hello.
    pub(super) async fn run(&self) -> Result<Greeted, DialError> {
        timeout(self.limit, self.connect())
            .await
            .unwrap_or(Err(DialError::Timeout(self.limit)))
    }

    async fn connect(&self) -> Result<Greeted, DialError> {
        let connection = self.transport.dial(&self.target).await?;
        if connection.peer() == self.transport.node_id() {
            connection.close(CloseCode::Done);
            return Err(DialError::OwnNode);
        }
        if let DialTarget::FirstUse { host } = &self.target {
            let peer = connection.peer();
            tracing::info!(%host, %peer, "identity taken on first use");
        }
        let own = Hello {
            dialled: Some(connection.remote_address()),
            ..self.hello.clone()
        };
        let hello = greet(&*connection, &own).await?;
        Ok(Greeted {
            connection,
            hello,
            outbound: true,
        })
    }
}

fn key(target: &DialTarget) -> Key {
    match target {
        DialTarget::Pinned { node_id, .. } => Key::Node(*node_id),
        DialTarget::FirstUse { host } => Key::Host(host.host.clone(), host.port),
    }
}

fn hosts(target: &DialTarget) -> &[HostPort] {
    match target {
        DialTarget::Pinned { hosts, .. } => hosts,
        DialTarget::FirstUse { host } => std::slice::from_ref(host),
    }
}
