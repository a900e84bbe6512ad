//! Resolves names.

use std::sync::Arc;

use macula_core::{Key, NodeId, Provider, Realm, ServiceName};
use macula_dht::{Dht, FindOptions, Scope};
use tokio::runtime::Handle;

use super::{ResolveOptions, Resolved, Source};
use crate::{CacheStats, RegistryConfig, ResolveError};

pub(crate) struct Resolver {
    realm: Realm,
    dht: Arc<dyn Dht>,
    config: RegistryConfig,
}

impl Resolver {
    pub(crate) fn start(
        realm: Realm,
        dht: Arc<dyn Dht>,
        config: RegistryConfig,
        _runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self { realm, dht, config })
    }
    pub(crate) fn cached(&self, _name: &ServiceName) -> Option<Resolved> {
        None
    }
    pub(crate) async fn resolve(
        &self,
        name: &ServiceName,
        options: ResolveOptions,
    ) -> Result<Resolved, ResolveError> {
        let find = FindOptions {
            want: self.config.want,
            timeout: options.timeout,
            scope: Scope::Network,
        };
        let found = self
            .dht
            .find(Key::of_service(&self.realm, name), find)
            .await?;
        if found.providers.is_empty() {
            return Err(ResolveError::NotFound);
        }
        let providers = found
            .providers
            .into_iter()
            .map(|p| Provider::from(p.record))
            .collect();
        Ok(Resolved {
            source: Source::Dht,
            providers,
        })
    }
    pub(crate) fn remove_provider(&self, _name: &ServiceName, _node: &NodeId) {}
    pub(crate) fn prune_expired(&self) -> usize {
        0
    }
    pub(crate) fn clear(&self) {}
    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats::default()
    }
}
