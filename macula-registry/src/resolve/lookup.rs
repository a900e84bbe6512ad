//! One search for a name: the whole network, then the connected peers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use macula_core::{Key, NodeId, Provider};
use macula_dht::{Dht, DhtError, FindOptions, FindOutcome, Found, Scope};
use tokio::time::timeout;

use super::Elsewhere;
use crate::ResolveError;
use crate::cache::Discovered;

/// Searches for a name, within bounds.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) dht: Arc<dyn Dht>,
    pub(super) key: Key,
    /// How many providers are enough, and the most kept.
    pub(super) want: NonZeroUsize,
    pub(super) network_timeout: Duration,
    pub(super) direct_timeout: Duration,
}

/// What a search came to; at least one provider.
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) scope: Scope,
    pub(super) found: Discovered,
}

impl Discovery {
    /// Leaves records out, up to those of the given numbers, unless nothing would be left; says
    /// whether something is.
    pub(super) fn leave_out(&mut self, removed: &[(NodeId, u64)]) -> bool {
        let stays = |(provider, _): &(Provider, Duration)| {
            let is_same =
                |(node, seq): &(NodeId, u64)| provider.node_id() == *node && provider.seq() <= *seq;
            !removed.iter().any(is_same)
        };
        let is_left = self.found.iter().any(stays);
        if is_left {
            self.found.retain(stays);
        }
        is_left
    }

    /// What those who wait are told.
    pub(super) fn answer(&self) -> Elsewhere {
        let providers = self.found.iter().map(|(p, _)| p.clone()).collect();
        match self.scope {
            Scope::Network => Elsewhere::Dht(providers),
            Scope::Connected => Elsewhere::Direct(providers),
        }
    }
}

impl Lookup {
    /// Ends within the two timeouts together.
    pub(super) async fn run(&self) -> Result<Discovery, ResolveError> {
        let network = self.find(Scope::Network, self.network_timeout).await;
        let in_vain = match network {
            Err(error) if !is_definite(error) => error,
            definite => return definite,
        };
        // The network gave no answer. A mesh that lost its DHT serves what it can.
        self.find(Scope::Connected, self.direct_timeout)
            .await
            .map_err(|_| in_vain)
    }

    async fn find(&self, scope: Scope, time: Duration) -> Result<Discovery, ResolveError> {
        let options = FindOptions {
            want: self.want,
            timeout: time,
            scope,
            trace: false,
        };
        // The DHT ends by its timeout; this one is for those that do not keep to it.
        let find = timeout(
            time.saturating_add(OVERTIME),
            self.dht.find(self.key, options),
        );
        let found = find.await.map_err(|_| ResolveError::Inconclusive)??;
        let found = self.usable(found)?;
        Ok(Discovery { scope, found })
    }

    fn usable(&self, found: Found) -> Result<Discovered, ResolveError> {
        let outcome = found.outcome;
        let usable: Discovered = found
            .providers
            .into_iter()
            .filter(|p| p.record.key() == self.key && !p.life.is_zero())
            .map(|p| (Provider::from(p.record), p.life))
            .take(self.want.get())
            .collect();
        match outcome {
            _ if !usable.is_empty() => Ok(usable),
            FindOutcome::Absent => Err(ResolveError::NotFound),
            _ => Err(ResolveError::Inconclusive),
        }
    }
}

/// Whether asking the connected peers would add nothing.
fn is_definite(error: ResolveError) -> bool {
    !matches!(
        error,
        ResolveError::Inconclusive | ResolveError::Dht(DhtError::Unreachable)
    )
}

/// How long beyond its timeout a find may take before it counts as ended without an answer.
const OVERTIME: Duration = Duration::from_millis(100);
