//! Wall-clock time as records state it, and the bounds on it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far two nodes' wall clocks may differ before one refuses the other's records.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// The shortest time to live that a record may ask for.
pub const MIN_TTL: Duration = Duration::from_secs(15);

/// The longest time to live that a record may ask for.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A source of wall-clock time, handed down by whoever composes a node.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A wall-clock instant: milliseconds since the Unix epoch.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant so many milliseconds after the Unix epoch.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> u64 {
        self.0
    }

    /// The instant `duration` later, or the last one there is.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// The instant `duration` earlier, or the epoch.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(at(u64::MAX).saturating_add(MAX_TTL), at(u64::MAX));
        assert_eq!(at(1).saturating_add(Duration::MAX), at(u64::MAX));
        assert_eq!(at(1).saturating_sub(MAX_TTL), at(0));
        assert_eq!(at(1).saturating_since(at(2)), Duration::ZERO);
        assert_eq!(at(5).saturating_since(at(2)), Duration::from_millis(3));
    }
}
