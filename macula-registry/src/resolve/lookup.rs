//! One search for a name: the whole network, then the connected peers.

use std::sync::Arc;
use std::time::Duration;

use macula_core::{Key, Provider};
use macula_dht::{Dht, DhtError, FindOptions, FindOutcome, Found, Scope};
use tokio::time::timeout;

use super::Source;
use crate::cache::Discovered;
use crate::{RegistryConfig, ResolveError};

/// Searches for a name, within bounds.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) dht: Arc<dyn Dht>,
    pub(super) key: Key,
    pub(super) network_timeout: Duration,
    pub(super) direct_timeout: Duration,
}

/// What a search came to; at least one provider.
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) source: Source,
    pub(super) found: Discovered,
}

impl Discovery {
    /// Those who were found.
    pub(super) fn providers(&self) -> Arc<[Provider]> {
        self.found.iter().map(|(p, _)| p.clone()).collect()
    }
}

impl Lookup {
    /// Ends within the two timeouts together.
    pub(super) async fn run(&self, config: &RegistryConfig) -> Result<Discovery, ResolveError> {
        let network = self
            .find(config, Scope::Network, self.network_timeout)
            .await;
        let in_vain = match network {
            Ok(found) => return Ok(discovery(Source::Dht, found)),
            Err(error) if is_definite(error) => return Err(error),
            Err(error) => error,
        };
        // The network gave no answer. A mesh that lost its DHT serves what it can.
        match self
            .find(config, Scope::Connected, self.direct_timeout)
            .await
        {
            Ok(found) => Ok(discovery(Source::Direct, found)),
            Err(_) => Err(in_vain),
        }
    }

    async fn find(
        &self,
        config: &RegistryConfig,
        scope: Scope,
        time: Duration,
    ) -> Result<Discovered, ResolveError> {
        let options = FindOptions {
            want: config.want,
            timeout: time,
            scope,
            trace: false,
        };
        // The DHT ends by its timeout; this one is for those that do not keep to it.
        let find = timeout(time + OVERTIME, self.dht.find(self.key, options));
        let found = find.await.map_err(|_| ResolveError::Inconclusive)??;
        self.usable(found, config.want.get())
    }

    fn usable(&self, found: Found, want: usize) -> Result<Discovered, ResolveError> {
        let outcome = found.outcome;
        let usable: Discovered = found
            .providers
            .into_iter()
            .filter(|p| p.record.key() == self.key && !p.life.is_zero())
            .map(|p| (Provider::from(p.record), p.life))
            .take(want)
            .collect();
        match outcome {
            _ if !usable.is_empty() => Ok(usable),
            FindOutcome::Absent => Err(ResolveError::NotFound),
            _ => Err(ResolveError::Inconclusive),
        }
    }
}

fn discovery(source: Source, found: Discovered) -> Discovery {
    Discovery { source, found }
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
