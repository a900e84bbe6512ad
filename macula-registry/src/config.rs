//! What the registry may use, and how long it waits.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Bounds and times of a [`Registry`](crate::Registry).
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// The most services this node may register. Each costs one record's memory.
    pub max_services: NonZeroUsize,
    /// The most providers kept over all cached names; a name known to have none counts as one.
    /// Each costs up to a few KiB. Not below [`want`](Self::want).
    pub cache_capacity: NonZeroUsize,
    /// How long an answer counts as fresh, never beyond the last of its records to expire; those
    /// that expire earlier are left out from then on. Refreshes that fail come no less often.
    /// Raising it saves lookups and delays the discovery of new providers; zero caches nothing.
    pub cache_fresh: Duration,
    /// How long after that it is still served while it is being refreshed, never beyond its
    /// records' expiry.
    pub cache_stale: Duration,
    /// How long "nobody provides it" counts. Raising it delays the discovery of a new service.
    pub cache_negative: Duration,
    /// The most lookups that run at once, each for another name; more are refused.
    pub max_lookups: NonZeroUsize,
    /// How many providers of a name are enough for a lookup to end early, and the most kept.
    pub want: NonZeroUsize,
    /// How long a lookup may search the whole network.
    pub lookup_timeout: Duration,
    /// How long it may then ask the connected peers, when the network gave no answer.
    pub direct_timeout: Duration,
    /// The most batches of records being published at once; more wait for their turn. Each has up
    /// to [`MAX_CLAIMS`](macula_dht::message::MAX_CLAIMS) records.
    pub max_publishing: NonZeroUsize,
    /// How long one attempt to publish may take. Should be longer than the DHT needs at most, or
    /// a batch that is held by most counts as failed as a whole, and is signed and sent again.
    pub publish_timeout: Duration,
    /// How long one attempt to withdraw may take, and all of a drain's together. Should be longer
    /// than the DHT waits for a node that has died, or a withdrawal that all others took counts as
    /// failed.
    pub withdraw_timeout: Duration,
    /// How long after a failure to publish the next attempt comes; doubles with every failure.
    pub retry_first: Duration,
    /// The longest that the wait between attempts to publish gets.
    pub retry_max: Duration,
    /// Tells apart the jitter of nodes that share an identity, as in tests and simulations.
    pub seed: u64,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            max_services: NonZeroUsize::new(16_384).unwrap_or(NonZeroUsize::MIN),
            cache_capacity: NonZeroUsize::new(32_768).unwrap_or(NonZeroUsize::MIN),
            cache_fresh: Duration::from_secs(60),
            cache_stale: Duration::from_secs(240),
            cache_negative: Duration::from_secs(1),
            max_lookups: NonZeroUsize::new(1024).unwrap_or(NonZeroUsize::MIN),
            want: NonZeroUsize::new(20).unwrap_or(NonZeroUsize::MIN),
            lookup_timeout: Duration::from_millis(1500),
            direct_timeout: Duration::from_millis(500),
            max_publishing: NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN),
            publish_timeout: PUBLISH_TIMEOUT,
            withdraw_timeout: Duration::from_secs(3),
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            seed: 0,
        }
    }
}

/// Longer than Kademlia with its defaults needs for a batch: a walk of up to 10 s, which neighbours
/// share, as long again for those whose own walk comes after it, and 2 s for each holder that does
/// not answer. A batch of which each record walks in vain may take longer: it has failed anyway.
/// Shorter than the minute before a record expires in which it is refreshed at the latest.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a [`RegistryConfig`] was refused. The caller's mistake; nothing was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryConfigError {
    /// A timeout leaves no time at all.
    #[error("{field} is zero")]
    ZeroTimeout {
        /// The field of the config.
        field: &'static str,
    },
    /// One answer of the size that is wanted would not fit into the cache.
    #[error("cache capacity is below the number of providers wanted per name")]
    CacheBelowWant,
    /// The wait between attempts would begin beyond its maximum.
    #[error("first retry comes later than the longest wait between retries")]
    RetryBeyondMax,
}

impl RegistryConfig {
    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<(), RegistryConfigError> {
        let timeouts = [
            ("lookup_timeout", self.lookup_timeout),
            ("direct_timeout", self.direct_timeout),
            ("publish_timeout", self.publish_timeout),
            ("withdraw_timeout", self.withdraw_timeout),
            ("retry_first", self.retry_first),
        ];
        if let Some((field, _)) = timeouts.iter().find(|(_, timeout)| timeout.is_zero()) {
            return Err(RegistryConfigError::ZeroTimeout { field });
        }
        if self.cache_capacity < self.want {
            return Err(RegistryConfigError::CacheBelowWant);
        }
        if self.retry_first > self.retry_max {
            return Err(RegistryConfigError::RetryBeyondMax);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_mission() {
        let config = RegistryConfig::default();
        assert_eq!(config.cache_fresh, Duration::from_secs(60));
        assert_eq!(crate::DEFAULT_TTL, Duration::from_secs(300));
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn nonsense_is_refused_with_the_field_at_fault() {
        let zero = RegistryConfig {
            publish_timeout: Duration::ZERO,
            ..RegistryConfig::default()
        };
        let small = RegistryConfig {
            cache_capacity: NonZeroUsize::MIN,
            ..RegistryConfig::default()
        };
        let retry = RegistryConfig {
            retry_first: Duration::from_secs(60),
            ..RegistryConfig::default()
        };
        let field = "publish_timeout";
        assert_eq!(
            zero.check(),
            Err(RegistryConfigError::ZeroTimeout { field })
        );
        assert_eq!(small.check(), Err(RegistryConfigError::CacheBelowWant));
        assert_eq!(retry.check(), Err(RegistryConfigError::RetryBeyondMax));
    }
}
