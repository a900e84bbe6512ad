//! How much one peer may ask in a time.

use std::time::Instant;

use macula_core::NodeId;

use super::recent::Recent;
use crate::Rate;

/// Peers whose buckets are remembered, at the least: more than an endpoint has connections. One
/// that is forgotten has a full bucket again.
const PEERS: usize = 2048;

/// A token bucket for each peer.
pub(super) struct RateLimit {
    rate: Rate,
    buckets: Recent<NodeId, Bucket>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Recent::new(PEERS),
        }
    }

    /// Whether a peer may have so much now; then it has it. What is more than a whole bucket
    /// costs a whole bucket.
    pub(super) fn take(&mut self, now: Instant, peer: &NodeId, cost: usize) -> bool {
        let burst = f64::from(self.rate.burst.get());
        let cost = u32::try_from(cost).map_or(burst, |cost| f64::from(cost).min(burst));
        if let Some(bucket) = self.buckets.get(peer) {
            let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
            let filled = passed.mul_add(f64::from(self.rate.per_sec.get()), bucket.tokens);
            bucket.tokens = filled.min(burst);
            bucket.at = now;
            let may_have = bucket.tokens >= cost;
            bucket.tokens -= if may_have { cost } else { 0.0 };
            return may_have;
        }
        let tokens = burst - cost;
        self.buckets.insert(*peer, Bucket { tokens, at: now });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_for_each_peer_by_itself() {
        let mut now = tokio::time::Instant::now().into_std();
        let mut limit = RateLimit::new(Rate {
            per_sec: NonZeroU32::new(10).unwrap(),
            burst: NonZeroU32::new(20).unwrap(),
        });
        let (one, other) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let mut passed = |now, peer| (0..100).filter(|_| limit.take(now, peer, 1)).count();
        assert_eq!(passed(now, &one), 20);
        assert_eq!(passed(now, &other), 20);
        now += Duration::from_secs(1);
        assert_eq!(passed(now, &one), 10);
        now += Duration::from_secs(3600);
        assert_eq!(passed(now, &one), 20);
        now += Duration::from_secs(2);
        assert!(
            limit.take(now, &one, usize::MAX),
            "costs no more than there can be"
        );
        assert!(!limit.take(now, &one, 1));
    }
}
