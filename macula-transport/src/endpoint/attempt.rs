//! One try to connect to a peer: name resolution, handshake and hello.

use std::sync::Arc;
use std::time::Duration;

use macula_core::DialTarget;
use tokio::time::timeout;

use super::handshake::greet;
use super::hello::{Hello, Purpose};
use super::link::Greeted;
use super::node::Node;
use super::pace::Turn;
use super::trace;
use crate::{CloseCode, Connection, DialError, Transport};

pub(super) struct Attempt {
    pub(super) target: DialTarget,
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

    /// Tries at once, for at most as long as a dial may take.
    pub(super) async fn run(&self) -> Result<Greeted, DialError> {
        let attempt = async {
            let connection = self.transport.dial(&self.target).await?;
            self.greet(connection).await
        };
        timeout(self.limit, attempt)
            .await
            .unwrap_or(Err(DialError::Timeout(self.limit)))
    }

    /// Tries in its turn; the caller sees to the deadline.
    pub(super) async fn run_in_turn(&self, turn: Turn<'_>) -> Result<Greeted, DialError> {
        let connection = turn.spend(self.transport.dial(&self.target)).await?;
        self.greet(connection).await
    }

    async fn greet(&self, connection: Arc<dyn Connection>) -> Result<Greeted, DialError> {
        if connection.peer() == self.transport.node_id() {
            connection.close(CloseCode::Done);
            return Err(DialError::OwnNode);
        }
        if let DialTarget::FirstUse { host } = &self.target {
            trace::first_use(host, &connection.peer());
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
