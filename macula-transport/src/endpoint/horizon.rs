//! Instants so far ahead that nobody lives to see them.

use std::time::Duration;

use tokio::time::Instant;

/// The instant a while after another; for a while without a bound, one that never comes.
pub(super) fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(NEVER)
}

/// Longer than any node runs, and short enough for every clock.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
