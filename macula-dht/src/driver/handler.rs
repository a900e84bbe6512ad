//! Hands requests of peers to the machine.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::WallClock;
use macula_transport::{InboundRequest, Refusal, RequestHandler};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::task::Rejects;
use crate::message::{Response, wire};

/// Decodes and verifies outside of the task, which only has to look things up.
pub(super) struct Handler {
    /// Weak, so that the endpoint that holds this does not keep the task running.
    commands: mpsc::WeakSender<Command>,
    clock: WallClock,
    rejects: Arc<Rejects>,
}

impl Handler {
    pub(super) fn new(
        commands: &mpsc::Sender<Command>,
        clock: WallClock,
        rejects: Arc<Rejects>,
    ) -> Self {
        Self {
            commands: commands.downgrade(),
            clock,
            rejects,
        }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle(&self, inbound: InboundRequest) -> Result<Bytes, Refusal> {
        let commands = self.commands.upgrade().ok_or(Refusal::ShuttingDown)?;
        let decoded = wire::decode_request(&inbound.body, (self.clock)());
        let wire::InboundRequest { request, refused } = decoded.map_err(|_| {
            self.rejects.count_message();
            Refusal::Malformed
        })?;
        self.rejects.count_claims(refused.len());
        let (reply, answer) = oneshot::channel();
        commands
            .try_send(Command::Answer(inbound.from, request, reply))
            .map_err(|error| match error {
                TrySendError::Full(_) => Refusal::Overloaded,
                TrySendError::Closed(_) => Refusal::ShuttingDown,
            })?;
        drop(commands);
        match answer.await {
            Ok(Response::Refused) => Err(Refusal::Denied),
            Ok(response) => wire::encode_response(&response, &refused)
                .map(Bytes::from)
                .map_err(|_| Refusal::Overloaded),
            Err(_) => Err(Refusal::ShuttingDown),
        }
    }
}
