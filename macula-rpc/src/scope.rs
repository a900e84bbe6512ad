//! What calls made within a handler inherit: its deadline and its trace.

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
    /// Which attempt of its own call the handler answers, counted from one.
    pub(crate) attempt: u8,
    /// How many handlers on the spot it is within.
    pub(crate) depth: u8,
}

/// When a call made now with this timeout ends: within a handler a while before the handler has to,
/// so that what the handler makes of a failure still reaches its own caller. Who hears nothing in
/// time tries another provider, which would try in vain as well, and so on in every tier.
pub(crate) fn deadline(now: Instant, timeout: Duration) -> Instant {
    let own = now + timeout.min(MAX_CALL_TIMEOUT);
    let inherited = HANDLER.try_with(|handler| {
        let left = handler.deadline.saturating_duration_since(now);
        now + (left - (left / RESERVED_SHARE).min(LONGEST_RESERVE))
    });
    inherited.map_or(own, |inherited| own.min(inherited))
}

/// Whether a call is made within a handler that answers a further attempt of its own call. What may
/// have run is not repeated for it: attempts of one tier would multiply those of the next.
pub(crate) fn is_repetition() -> bool {
    HANDLER
        .try_with(|handler| handler.attempt > 1)
        .unwrap_or(false)
}

/// The trace of the handler that a call is made in, if it is.
pub(crate) fn trace() -> Option<TraceContext> {
    HANDLER.try_with(|handler| handler.trace).ok()
}

/// How many handlers on the spot a call is made within.
pub(crate) fn depth() -> u8 {
    HANDLER.try_with(|handler| handler.depth).unwrap_or(0)
}

/// Of the time that a handler has left, one part in so many is not for its calls.
const RESERVED_SHARE: u32 = 10;

/// The most that is: an answer does not need longer, however far away its caller is.
const LONGEST_RESERVE: Duration = Duration::from_millis(500);

/// Polls a handler whose calls inherit this.
pub(crate) fn within<R>(inherited: Inherited, poll: impl FnOnce() -> R) -> R {
    HANDLER.sync_scope(inherited, poll)
}
