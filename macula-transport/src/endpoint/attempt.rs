//! One try to connect to a peer: name resolution, handshake and hello.

use std::sync::Arc;
use std::time::Duration;

use macula_core::DialTarget;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::handshake::greet;
use super::hello::{Hello, Purpose};
use super::horizon::after;
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
        let deadline = after(Instant::now(), self.limit);
        let dialling = self.transport.dial(&self.target);
        self.connect(dialling, deadline)
            .await
            .unwrap_or(Err(DialError::Timeout(self.limit)))
    }

    /// Tries in its turn.
    pub(super) async fn run_in_turn(
        &self,
        turn: Turn<'_>,
        deadline: Instant,
    ) -> Result<Result<Greeted, DialError>, Elapsed> {
        let dialling = turn.spend(self.transport.dial(&self.target));
        self.connect(dialling, deadline).await
    }

    async fn connect(
        &self,
        dialling: impl Future<Output = Result<Arc<dyn Connection>, DialError>>,
        deadline: Instant,
    ) -> Result<Result<Greeted, DialError>, Elapsed> {
        let connection = match timeout_at(deadline, dialling).await? {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error)),
        };
        let greeting = self.greet(Arc::clone(&connection));
        tokio::pin!(greeting);
        let greeted = timeout_at(deadline, &mut greeting).await;
        if greeted.is_err() {
            // Before the stream is dropped, whose reset would say less.
            connection.close(CloseCode::HelloTimeout);
        }
        greeted
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
