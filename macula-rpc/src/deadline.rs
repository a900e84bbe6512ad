//! The deadline that calls made within a handler inherit.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::MAX_CALL_TIMEOUT;

tokio::task_local! {
    static HANDLER: Instant;
}

/// When a call made now with this timeout ends: within a handler no later than the handler.
pub(crate) fn of_call(now: Instant, timeout: Duration) -> Instant {
    let own = now + timeout.min(MAX_CALL_TIMEOUT);
    HANDLER.try_with(|handler| own.min(*handler)).unwrap_or(own)
}

/// Runs a handler whose calls inherit its deadline.
pub(crate) fn scope<F: Future>(deadline: Instant, handler: F) -> impl Future<Output = F::Output> {
    HANDLER.scope(deadline, handler)
}
