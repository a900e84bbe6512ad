//! The one place that reads the wall clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use macula_core::{Timestamp, WallClock};

/// The operating system's wall clock, for signing records and judging those of others.
pub fn system_clock() -> WallClock {
    Arc::new(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where the wall clock is read"
        )]
        let now = SystemTime::now();
        let since_epoch = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp::from_unix_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    })
}
