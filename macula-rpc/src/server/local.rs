//! Calls of this node to itself: the same way, without the network.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use super::Server;
use super::begin::{Incoming, Progress};
use super::work::Work;
use crate::message::{ReplyMessage, Status};

impl Server {
    /// Answers a call of this node itself, in the same way as a peer's.
    ///
    /// # Cancel safety
    /// Dropping the future stops the handler.
    pub(crate) async fn serve_local(&self, call: Incoming<'_>) -> ReplyMessage {
        let deadline = call.deadline;
        let ended = match self.begin(call) {
            Progress::Ended(reply) => return reply,
            // Boxed, for calls to other nodes do not need it and would carry room for it.
            Progress::Waits(work) => Box::pin(timeout_at(deadline, work)).await,
            Progress::ToSpawn(work) => {
                Box::pin(timeout_at(deadline, in_task(&self.handlers, work))).await
            }
        };
        ended.unwrap_or_else(|_| ReplyMessage::failed(Status::DeadlineExceeded))
    }
}

/// Runs a handler in a task of its own. Dropping the future aborts it.
async fn in_task(runtime: &Handle, work: Work) -> ReplyMessage {
    let mut task = AbortOnDrop(runtime.spawn(work));
    let joined = (&mut task.0).await;
    // An error means that the runtime of the handlers has ended.
    joined.unwrap_or_else(|_| ReplyMessage::failed(Status::Aborted))
}

struct AbortOnDrop(JoinHandle<ReplyMessage>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
