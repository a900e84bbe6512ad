//! One running handler: its permits, its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

use crate::message::{ErrorText, Status};
use crate::{CodecError, HandlerFailure, Service};

/// The permits of one call. They live in the handler's future, so that they return exactly when it
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

/// Runs a handler in a task of its own. Dropping the future aborts it.
pub(super) async fn spawned(
    handler: impl Future<Output = Ended> + Send + 'static,
    runtime: &Handle,
    service: &Service,
    deadline: Instant,
) -> Result<Bytes, Status> {
    let mut task = AbortOnDrop(runtime.spawn(handler));
    tokio::select! {
        biased;
        joined = &mut task.0 => result_of_task(joined),
        status = cut_short(service, deadline) => Err(status),
    }
}

/// Runs a handler right here. Dropping the future drops it.
pub(super) async fn inline(
    handler: impl Future<Output = Ended>,
    service: &Service,
    deadline: Instant,
) -> Result<Bytes, Status> {
    tokio::select! {
        biased;
        ended = unless_panicking(handler) => ended.map_or(Err(Status::Panicked), result_of),
        status = cut_short(service, deadline) => Err(status),
    }
}

/// Waits for the deadline, or until its service wants the handler gone.
async fn cut_short(service: &Service, deadline: Instant) -> Status {
    tokio::select! {
        biased;
        () = sleep_until(deadline) => Status::DeadlineExceeded,
        () = service.aborted() => Status::Aborted,
    }
}

/// What a future comes to; `None` when it panics.
///
/// That it is left as the panic found it does no harm: it is dropped and never polled again.
async fn unless_panicking<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        },
    )
    .await
}

fn result_of_task(joined: Result<Ended, JoinError>) -> Result<Bytes, Status> {
    match joined {
        Ok(ended) => result_of(ended),
        Err(error) if error.is_panic() => Err(Status::Panicked),
        // The runtime of the handlers has ended.
        Err(_) => Err(Status::Aborted),
    }
}

fn result_of(ended: Ended) -> Result<Bytes, Status> {
    ended.map_err(|failure| match failure {
        HandlerFailure::Error(error) => Status::Handler(error),
        HandlerFailure::BadArguments(error) => Status::BadArguments(text_of(&error)),
        HandlerFailure::BadResult(error) => Status::BadResult(text_of(&error)),
    })
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
