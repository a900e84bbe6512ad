//! What the peers of one lookup claim about its target, merged by provider.

use std::collections::BTreeMap;
use std::time::Instant;

use macula_core::{Claim, Key, NodeId, Precedence};

use crate::FoundProvider;
use crate::message::LiveClaim;

/// Providers that one lookup hears of: far more than are wanted, and few enough that peers who name
/// others without end cost little. Beyond it only those who are known are heard of again.
const MAX_PROVIDERS: usize = 1024;

/// The claim that wins of each provider.
///
// Invariant: at most MAX_PROVIDERS providers.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    key: Key,
    by_provider: BTreeMap<NodeId, KnownClaim>,
}

#[derive(Debug, Clone)]
struct KnownClaim {
    claim: Claim,
    precedence: Precedence,
    expires_at: Instant,
}

impl Claims {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            by_provider: BTreeMap::new(),
        }
    }

    /// Merges a claim in order of precedence; whether it is one under the key.
    pub(super) fn merge(&mut self, now: Instant, live: LiveClaim) -> bool {
        if live.claim.key() != self.key {
            return false;
        }
        let Some(expires_at) = now.checked_add(live.life) else {
            return false;
        };
        let new = KnownClaim {
            precedence: live.claim.precedence(),
            claim: live.claim,
            expires_at,
        };
        let is_full = self.by_provider.len() >= MAX_PROVIDERS;
        match self.by_provider.get_mut(&new.claim.provider()) {
            None if is_full => return false,
            Some(known) if known.precedence > new.precedence => {}
            Some(known) if known.precedence == new.precedence => {
                known.expires_at = known.expires_at.max(new.expires_at);
            }
            _ => {
                self.by_provider.insert(new.claim.provider(), new);
            }
        }
        true
    }

    /// Whether there are so many providers.
    pub(super) fn has(&self, now: Instant, count: usize) -> bool {
        self.by_provider.len() >= count
            && self
                .by_provider
                .values()
                .filter(|known| known.is_live_record(now))
                .take(count)
                .count()
                >= count
    }

    /// The providers, freshest life first.
    pub(super) fn providers(&self, now: Instant) -> Vec<FoundProvider> {
        let known = self.by_provider.values();
        let mut providers: Vec<_> = known.filter_map(|known| known.provider(now)).collect();
        providers.sort_by_key(|provider| std::cmp::Reverse(provider.life));
        providers
    }
}

impl KnownClaim {
    fn is_live_record(&self, now: Instant) -> bool {
        matches!(self.claim, Claim::Record(_)) && self.expires_at > now
    }

    fn provider(&self, now: Instant) -> Option<FoundProvider> {
        match &self.claim {
            Claim::Record(record) if self.expires_at > now => Some(FoundProvider {
                record: record.clone(),
                life: self.expires_at.duration_since(now),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
