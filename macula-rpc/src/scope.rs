//! What calls made within a handler inherit: its deadline and its trace.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::{MAX_CALL_TIMEOUT, TraceContext};

tokio::task_local! {
    static HANDLER: Inherited;
}

/// What a handler leaves to the calls that it makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inherited {
    pub(crate) deadline: Instant,
    pub(crate) trace: TraceContext,
    /// How many handlers on the spot it is within.
    pub(crate) depth: u8,
}

/// When a call made now with this timeout ends: within a handler no later than the handler.
pub(crate) fn deadline(now: Instant, timeout: Duration) -> Instant {
    let own = now + timeout.min(MAX_CALL_TIMEOUT);
    let inherited = HANDLER.try_with(|handler| handler.deadline);
    inherited.map_or(own, |inherited| own.min(inherited))
}

/// The trace of the handler that a call is made in, if it is.
pub(crate) fn trace() -> Option<TraceContext> {
    HANDLER.try_with(|handler| handler.trace).ok()
}

/// How many handlers on the spot a call is made within.
pub(crate) fn depth() -> u8 {
    HANDLER.try_with(|handler| handler.depth).unwrap_or(0)
}

/// Runs a handler whose calls inherit this.
pub(crate) fn run<F: Future>(inherited: Inherited, handler: F) -> impl Future<Output = F::Output> {
    HANDLER.scope(inherited, handler)
}
