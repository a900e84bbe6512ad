//! The task that drives the machine: it moves messages and timers and decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use macula_core::{Contact, DialTarget};
use macula_transport::{DialError, Endpoint, Peer, PeerEvent, ProtocolId, Request};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::answer::Answer;
use super::command::{Command, Joining};
use super::reached;
use super::shared::Shared;
use crate::kad::{Kademlia, OperationId, OperationResult, Outbound, Output, RequestId};
use crate::message::wire;
use crate::{AnnounceReport, DhtError, Found, WithdrawReport};

pub(super) struct Task {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    inbox: mpsc::Receiver<Command>,
    events: broadcast::Receiver<PeerEvent>,
    /// Requests and dials under way.
    under_way: JoinSet<Completion>,
    max_under_way: usize,
    waiting: BTreeMap<OperationId, Waiting>,
    contacts: watch::Sender<usize>,
}

/// What came of a request or a dial.
enum Completion {
    Answered(RequestId, Answer),
    Dialled(DialTarget, Result<Peer, DialError>),
}

/// Who waits for the end of an operation.
enum Waiting {
    Announce(oneshot::Sender<Result<AnnounceReport, DhtError>>),
    Withdraw(oneshot::Sender<Result<WithdrawReport, DhtError>>),
    Find(oneshot::Sender<Result<Found, DhtError>>),
    Locate(oneshot::Sender<Result<Option<Contact>, DhtError>>),
    Join(oneshot::Sender<usize>),
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        endpoint: Endpoint,
        inbox: mpsc::Receiver<Command>,
        max_under_way: usize,
    ) -> (Self, watch::Receiver<usize>) {
        let (contacts, seen) = watch::channel(0);
        let task = Self {
            shared,
            events: endpoint.events(),
            endpoint,
            inbox,
            under_way: JoinSet::new(),
            max_under_way,
            waiting: BTreeMap::new(),
            contacts,
        };
        (task, seen)
    }

    /// Runs until nobody can send commands any more.
    pub(super) async fn run(mut self) {
        self.catch_up();
        loop {
            self.drain();
            let timeout = self.machine().poll_timeout();
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
                () = self.shared.changed.notified() => {}
                () = sleep_until(timeout) => self.machine().handle_timeout(now()),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let now = now();
        let (operation, waiting) = match command {
            Command::Announce(records, reply) => (
                self.machine().announce(now, records),
                Waiting::Announce(reply),
            ),
            Command::Withdraw(withdrawals, reply) => (
                self.machine().withdraw(now, withdrawals),
                Waiting::Withdraw(reply),
            ),
            Command::Find(search, reply) => {
                (self.machine().find(now, search), Waiting::Find(reply))
            }
            Command::Locate(node_id, timeout, reply) => (
                self.machine().locate(now, node_id, timeout),
                Waiting::Locate(reply),
            ),
            Command::Join(joining, reply) => (self.join(now, joining), Waiting::Join(reply)),
        };
        self.waiting.insert(operation, waiting);
    }

    fn join(&mut self, now: Instant, joining: Joining) -> OperationId {
        self.machine().set_bootstrap(now, joining.bootstrap);
        for contact in joining.reached {
            self.machine().handle_reached(now, contact);
        }
        self.machine().join(now)
    }

    fn observe(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Reached(contact) => self.machine().handle_reached(now(), contact),
            PeerEvent::Departed(node_id) => self.machine().handle_departed(now(), &node_id),
            _ => {}
        }
    }

    /// Looks at what events told, or would have told: who can be reached.
    fn catch_up(&mut self) {
        for contact in self.endpoint.peers().into_iter().filter_map(reached) {
            self.machine().handle_reached(now(), contact);
        }
    }

    fn complete(&mut self, completed: Result<Completion, JoinError>) {
        match completed {
            Ok(Completion::Answered(request_id, answer)) => self.answered(request_id, answer),
            Ok(Completion::Dialled(_, Ok(peer))) => {
                if let Some(contact) = reached(peer) {
                    self.machine().handle_reached(now(), contact);
                }
            }
            Ok(Completion::Dialled(target, Err(error))) => {
                tracing::debug!(peer = %target, %error, "bootstrap peer or former contact not reached");
            }
            // A task that panicked loses its request, which the machine gives up in time.
            Err(error) => tracing::warn!(%error, "request task failed"),
        }
    }

    fn answered(&mut self, request_id: RequestId, answer: Answer) {
        let mut machine = self.machine();
        match answer {
            Answer::Response(response) => machine.handle_response(now(), request_id, response),
            Answer::None => machine.handle_failure(now(), request_id),
            Answer::Unsent => machine.handle_unsent(now(), request_id),
        }
    }

    fn drain(&mut self) {
        loop {
            // A statement of its own, so that the machine is free while the output is dealt with.
            let output = self.machine().poll_output();
            match output {
                Some(Output::Send(outbound)) => self.send(outbound),
                Some(Output::Dial(target)) => self.dial(target),
                Some(Output::Done { operation, result }) => self.reply(operation, result),
                None => break,
            }
        }
        let count = self.machine().contact_count();
        self.contacts
            .send_if_modified(|contacts| std::mem::replace(contacts, count) != count);
    }

    fn machine(&self) -> MutexGuard<'_, Kademlia> {
        self.shared.machine()
    }

    fn send(&mut self, outbound: Outbound) {
        let request_id = outbound.request_id;
        let encoded = wire::encode_request(&outbound.request);
        let Some(body) = encoded.ok().filter(|_| self.has_room()) else {
            self.machine().handle_unsent(now(), request_id);
            return;
        };
        let (endpoint, shared) = (self.endpoint.clone(), self.shared.clone());
        let request = Request {
            protocol: ProtocolId::DHT,
            timeout: outbound.timeout,
            body: Bytes::from(body),
        };
        self.under_way.spawn(async move {
            let answered = endpoint.request(&outbound.to, request).await;
            Completion::Answered(request_id, Answer::of(&shared, answered).await)
        });
    }

    fn dial(&mut self, target: DialTarget) {
        if !self.has_room() {
            tracing::debug!(peer = %target, "not dialled, too much is under way");
            return;
        }
        let endpoint = self.endpoint.clone();
        self.under_way.spawn(async move {
            let outcome = endpoint.connect(&target).await;
            Completion::Dialled(target, outcome)
        });
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < self.max_under_way
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
            (Some(Waiting::Locate(reply)), OperationResult::Located(result)) => {
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
            let told = report.withdrawals.iter().filter(|one| one.is_told());
            tracing::debug!(
                withdrawals = report.withdrawals.len(),
                told = told.count(),
                acknowledged = report.acknowledged(),
                "withdrawn"
            );
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
        OperationResult::Located(result) => tracing::debug!(?result, "node looked up"),
        OperationResult::Joined { contacts } => tracing::debug!(contacts, "own key looked up"),
    }
}

pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(timeout: Option<Instant>) {
    match timeout {
        Some(timeout) => tokio::time::sleep_until(timeout.into()).await,
        None => std::future::pending().await,
    }
}
