//! Calls of this node to itself: the same way, without the network.

use std::pin::Pin;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Server;
use super::begin::{Incoming, Progress};
use super::work::Work;
use crate::message::{ReplyMessage, Status};

/// How far the answer to a call of this node itself has come.
pub(crate) enum Serving {
    Ended(ReplyMessage),
    /// Boxed, for most calls do not need it and would carry room for it.
    Waits(Pin<Box<dyn Future<Output = ReplyMessage> + Send>>),
}

impl Server {
    /// Answers a call of this node itself, in the same way as a peer's. Dropping what is handed back
    /// stops the handler.
    pub(crate) fn serve_local(&self, call: Incoming<'_>, body: Bytes) -> Serving {
        let deadline = call.deadline;
        let admitted = match self.admit(call) {
            Ok(admitted) => admitted,
            Err(status) => return Serving::Ended(ReplyMessage::failed(status)),
        };
        match self.begin(admitted, body) {
            Progress::Ended(reply) => Serving::Ended(reply),
            Progress::Waits(work) => Serving::Waits(Box::pin(until(deadline, work))),
            Progress::ToSpawn(work) => {
                let in_task = in_task(self.handlers.clone(), work);
                Serving::Waits(Box::pin(until(deadline, in_task)))
            }
        }
    }
}

async fn until(deadline: Instant, handling: impl Future<Output = ReplyMessage>) -> ReplyMessage {
    timeout_at(deadline, handling)
        .await
        .unwrap_or_else(|_| ReplyMessage::failed(Status::DeadlineExceeded))
}

/// Runs a handler in a task of its own. Dropping the future aborts it.
async fn in_task(runtime: Handle, work: Work) -> ReplyMessage {
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
