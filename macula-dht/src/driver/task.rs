//! The task that owns the machine: it moves messages and timers and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use macula_core::{DialTarget, WallClock};
use macula_transport::{DialError, Endpoint, Peer, PeerEvent, ProtocolId, Request};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::command::{Command, Joining};
use super::{DhtStats, reached};
use crate::kad::{Kademlia, OperationId, OperationResult, Outbound, Output, RequestId};
use crate::message::{Response, wire};
use crate::{AnnounceReport, DhtError, Found, WithdrawReport};

pub(super) struct Task {
    machine: Kademlia,
    endpoint: Endpoint,
    clock: WallClock,
    inbox: mpsc::Receiver<Command>,
    events: broadcast::Receiver<PeerEvent>,
    /// Requests and dials under way; as many as the machine has in flight.
    under_way: JoinSet<Completion>,
    waiting: BTreeMap<OperationId, Waiting>,
    stats: watch::Sender<DhtStats>,
    rejects: Arc<Rejects>,
}

/// What came of a request or a dial.
enum Completion {
    Answered(RequestId, Option<Response>),
    Dialled(DialTarget, Result<Peer, DialError>),
}

/// Who waits for the end of an operation.
enum Waiting {
    Announce(oneshot::Sender<Result<AnnounceReport, DhtError>>),
    Withdraw(oneshot::Sender<Result<WithdrawReport, DhtError>>),
    Find(oneshot::Sender<Result<Found, DhtError>>),
    Join(oneshot::Sender<usize>),
}

/// What of the peers' messages never reaches the machine.
#[derive(Debug, Default)]
pub(super) struct Rejects {
    claims: AtomicU64,
    messages: AtomicU64,
}

impl Rejects {
    pub(super) fn count_claims(&self, count: usize) {
        self.claims.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn count_message(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    pub(super) fn new(
        machine: Kademlia,
        endpoint: Endpoint,
        clock: WallClock,
        inbox: mpsc::Receiver<Command>,
    ) -> (Self, watch::Receiver<DhtStats>) {
        let (stats, seen) = watch::channel(DhtStats::default());
        let task = Self {
            machine,
            events: endpoint.events(),
            endpoint,
            clock,
            inbox,
            under_way: JoinSet::new(),
            waiting: BTreeMap::new(),
            stats,
            rejects: Arc::default(),
        };
        (task, seen)
    }

    pub(super) fn rejects(&self) -> Arc<Rejects> {
        self.rejects.clone()
    }

    /// Runs until nobody can send commands any more.
    pub(super) async fn run(mut self) {
        self.catch_up();
        loop {
            self.drain();
            let timeout = self.machine.poll_timeout();
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                event = self.events.recv() => match event {
                    Ok(event) => self.observe(event),
                    Err(RecvError::Lagged(_)) => self.catch_up(),
                    Err(RecvError::Closed) => return,
                },
                Some(completed) = self.under_way.join_next() => self.complete(completed),
                () = sleep_until(timeout) => self.machine.handle_timeout(now()),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let now = now();
        let (operation, waiting) = match command {
            Command::Announce(records, reply) => (
                self.machine.announce(now, records),
                Waiting::Announce(reply),
            ),
            Command::Withdraw(withdrawals, reply) => (
                self.machine.withdraw(now, withdrawals),
                Waiting::Withdraw(reply),
            ),
            Command::Find(search, reply) => (self.machine.find(now, search), Waiting::Find(reply)),
            Command::Join(joining, reply) => (self.join(now, joining), Waiting::Join(reply)),
            Command::Answer(from, request, reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.machine.answer(now, from, request));
                return;
            }
        };
        self.waiting.insert(operation, waiting);
    }

    fn join(&mut self, now: Instant, joining: Joining) -> OperationId {
        self.machine.set_bootstrap(now, joining.bootstrap);
        for contact in joining.reached {
            self.machine.handle_reached(now, contact);
        }
        self.machine.join(now)
    }

    fn observe(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Reached(contact) => self.machine.handle_reached(now(), contact),
            PeerEvent::Disconnected(node_id) => self.machine.handle_disconnected(&node_id),
            PeerEvent::Departed(node_id) => self.machine.handle_departed(now(), &node_id),
            _ => {}
        }
    }

    /// Looks at what events told, or would have told: who can be reached.
    fn catch_up(&mut self) {
        for contact in self.endpoint.peers().into_iter().filter_map(reached) {
            self.machine.handle_reached(now(), contact);
        }
    }

    fn complete(&mut self, completed: Result<Completion, JoinError>) {
        match completed {
            Ok(Completion::Answered(request_id, Some(response))) => {
                self.machine.handle_response(now(), request_id, response);
            }
            Ok(Completion::Answered(request_id, None)) => {
                self.machine.handle_failure(now(), request_id);
            }
            Ok(Completion::Dialled(_, Ok(peer))) => {
                if let Some(contact) = reached(peer) {
                    self.machine.handle_reached(now(), contact);
                }
            }
            Ok(Completion::Dialled(target, Err(error))) => {
                tracing::debug!(peer = %target, %error, "bootstrap peer or former contact not reached");
            }
            // A task that panicked loses its request, which the machine gives up in time.
            Err(error) => tracing::warn!(%error, "request task failed"),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send(outbound) => self.send(outbound),
                Output::Dial(target) => self.dial(target),
                Output::Done { operation, result } => self.reply(operation, result),
            }
        }
        self.stats.send_replace(DhtStats {
            kad: self.machine.stats(),
            claims_refused: self.rejects.claims.load(Ordering::Relaxed),
            messages_malformed: self.rejects.messages.load(Ordering::Relaxed),
        });
    }

    fn send(&mut self, outbound: Outbound) {
        let request_id = outbound.request_id;
        let Ok(body) = wire::encode_request(&outbound.request) else {
            self.machine.handle_failure(now(), request_id);
            return;
        };
        let (endpoint, clock) = (self.endpoint.clone(), self.clock.clone());
        let rejects = self.rejects.clone();
        let request = Request {
            protocol: ProtocolId::DHT,
            timeout: outbound.timeout,
            body: Bytes::from(body),
        };
        self.under_way.spawn(async move {
            let answered = endpoint.request(&outbound.to, request).await;
            let response = answered.ok().and_then(|body| {
                let decoded = wire::decode_response(&body, clock());
                decoded.map_err(|_| rejects.count_message()).ok()
            });
            Completion::Answered(
                request_id,
                response.map(|inbound| {
                    rejects.count_claims(inbound.refused);
                    inbound.response
                }),
            )
        });
    }

    fn dial(&mut self, target: DialTarget) {
        let endpoint = self.endpoint.clone();
        self.under_way.spawn(async move {
            let outcome = endpoint.connect(&target).await;
            Completion::Dialled(target, outcome)
        });
    }

    /// Tells whoever waits; whoever has gone is not told.
    fn reply(&mut self, operation: OperationId, result: OperationResult) {
        log(&result);
        match (self.waiting.remove(&operation), result) {
            (Some(Waiting::Announce(reply)), OperationResult::Announced(result)) => {
                let _ = reply.send(result);
            }
            (Some(Waiting::Withdraw(reply)), OperationResult::Withdrawn(result)) => {
                let _ = reply.send(result);
            }
            (Some(Waiting::Find(reply)), OperationResult::Found(result)) => {
                let _ = reply.send(result);
            }
            (Some(Waiting::Join(reply)), OperationResult::Joined { contacts }) => {
                let _ = reply.send(contacts);
            }
            _ => {}
        }
    }
}

fn log(result: &OperationResult) {
    match result {
        OperationResult::Announced(Ok(report)) => {
            let fewest = report.records.iter().map(|record| record.holders).min();
            tracing::debug!(
                records = report.records.len(),
                holders = fewest,
                "announced"
            );
        }
        OperationResult::Announced(Err(error)) => tracing::warn!(%error, "announce failed"),
        OperationResult::Withdrawn(Ok(report)) => {
            tracing::debug!(acknowledged = report.acknowledged, "withdrawn");
        }
        OperationResult::Withdrawn(Err(error)) => tracing::warn!(%error, "withdraw failed"),
        OperationResult::Found(Ok(found)) => tracing::debug!(
            providers = found.providers.len(),
            outcome = ?found.outcome,
            requests = found.requests,
            hops = found.hops,
            "looked up"
        ),
        OperationResult::Found(Err(error)) => tracing::debug!(%error, "lookup failed"),
        OperationResult::Joined { contacts } => tracing::debug!(contacts, "own key looked up"),
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(timeout: Option<Instant>) {
    match timeout {
        Some(timeout) => tokio::time::sleep_until(timeout.into()).await,
        None => std::future::pending().await,
    }
}
