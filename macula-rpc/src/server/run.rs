//! One running handler: its permits, its end.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::message::{ErrorText, Status};
use crate::{CodecError, HandlerFailure, Service};

/// The permits of one call. They live in the handler's task, so that they return exactly when it
/// has really ended: with a result, an error, a panic, or by being aborted.
pub(super) struct Admission {
    _of_node: OwnedSemaphorePermit,
    _of_service: OwnedSemaphorePermit,
}

impl Admission {
    pub(super) fn new(of_node: OwnedSemaphorePermit, of_service: OwnedSemaphorePermit) -> Self {
        Self {
            _of_node: of_node,
            _of_service: of_service,
        }
    }
}

type Ended = Result<Bytes, HandlerFailure>;

/// Waits for a handler until the deadline or until its service wants it gone. Dropping the future
/// aborts the handler.
pub(super) async fn supervise(
    task: JoinHandle<Ended>,
    service: &Service,
    deadline: Instant,
) -> Result<Bytes, Status> {
    let mut task = AbortOnDrop(task);
    tokio::select! {
        biased;
        joined = &mut task.0 => result_of(joined),
        () = tokio::time::sleep_until(deadline) => Err(Status::DeadlineExceeded),
        () = service.aborted() => Err(Status::Aborted),
    }
}

fn result_of(joined: Result<Ended, JoinError>) -> Result<Bytes, Status> {
    match joined {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(HandlerFailure::Error(error))) => Err(Status::Handler(error)),
        Ok(Err(HandlerFailure::BadArguments(error))) => Err(Status::BadArguments(text_of(&error))),
        Ok(Err(HandlerFailure::BadResult(error))) => Err(Status::BadResult(text_of(&error))),
        Err(error) if error.is_panic() => Err(Status::Panicked),
        // The runtime of the handlers has ended.
        Err(_) => Err(Status::Aborted),
    }
}

fn text_of(error: &CodecError) -> ErrorText {
    ErrorText::truncating(&error.to_string())
}

struct AbortOnDrop(JoinHandle<Ended>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
