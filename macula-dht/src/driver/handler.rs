//! Hands requests of peers to the machine.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use macula_transport::{InboundRequest, Refusal, RequestHandler};
use tokio::sync::mpsc;

use super::command::Command;
use super::shared::Shared;
use crate::message::Response;
use crate::message::wire::{self, UnverifiedRequest};

/// Limits, decodes and verifies, so that the machine only has to look things up.
pub(super) struct Handler {
    /// Weak, so that the endpoint that holds this keeps nothing alive.
    shared: Weak<Shared>,
    /// Closed when the task has ended: then nobody is answered any more.
    task: mpsc::WeakSender<Command>,
}

impl Handler {
    pub(super) fn new(shared: &Arc<Shared>, commands: &mpsc::Sender<Command>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            task: commands.downgrade(),
        }
    }

    fn shared(&self) -> Result<Arc<Shared>, Refusal> {
        let task = self.task.upgrade();
        let runs = task.is_some_and(|commands| !commands.is_closed());
        let shared = self.shared.upgrade().filter(|_| runs);
        shared.ok_or(Refusal::ShuttingDown)
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle(&self, inbound: InboundRequest) -> Result<Bytes, Refusal> {
        let shared = self.shared()?;
        if !shared.serves {
            return Err(Refusal::Denied);
        }
        if !shared.admits_request(&inbound.from) {
            return Err(Refusal::Overloaded);
        }
        let unverified = UnverifiedRequest::decode(&inbound.body).map_err(|_| {
            shared.count_malformed();
            Refusal::Malformed
        })?;
        if !shared.admits_claims(&inbound.from, unverified.claims().count()) {
            return Err(Refusal::Overloaded);
        }
        let verified = shared.verifier.request(unverified).await;
        let wire::InboundRequest { request, refused } = verified.ok_or(Refusal::ShuttingDown)?;
        shared.count_refused(refused.len());
        match shared.answer(inbound.from, request) {
            Response::Refused => Err(Refusal::Denied),
            response => wire::encode_response(&response, &refused)
                .map(Bytes::from)
                .map_err(|_| Refusal::Overloaded),
        }
    }
}
