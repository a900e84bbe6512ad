//! Whole nodes in one process: memory transport, endpoint, DHT.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use macula_core::{
    Contact, Delivery, DialTarget, Extensions, Key, Metadata, ProviderRecord, Realm, RecordDraft,
    SecretKey, WallClock, Withdrawal, WithdrawalDraft,
};
use macula_dht::{Dht, DhtConfig, DhtError, FindOptions, Found, KademliaDht, Scope, contract};
use macula_transport::{Endpoint, EndpointConfig, Executor, MemoryNetwork, Role, Transport as _};

/// A node, or several on one network.
pub(crate) struct Node {
    pub(crate) secret_key: SecretKey,
    pub(crate) endpoint: Endpoint,
    pub(crate) dht: Arc<KademliaDht>,
    pub(crate) clock: WallClock,
    address: Option<SocketAddr>,
}

impl Node {
    pub(crate) fn server(network: &Arc<MemoryNetwork>, clock: &WallClock, seed: u8) -> Self {
        Self::server_with(network, clock, seed, &DhtConfig::default())
    }

    fn server_with(
        network: &Arc<MemoryNetwork>,
        clock: &WallClock,
        seed: u8,
        config: &DhtConfig,
    ) -> Self {
        let secret_key = SecretKey::from_bytes(&[seed; 32]);
        let transport = network.transport(&secret_key);
        let address = transport.local_addresses().first().copied();
        Self::start((secret_key, address), transport, clock, config.clone())
    }

    pub(crate) fn client(network: &Arc<MemoryNetwork>, clock: &WallClock, seed: u8) -> Self {
        let secret_key = SecretKey::from_bytes(&[seed; 32]);
        let transport = network.dial_only(&secret_key);
        Self::start((secret_key, None), transport, clock, DhtConfig::default())
    }

    fn start(
        (secret_key, address): (SecretKey, Option<SocketAddr>),
        transport: Arc<dyn macula_transport::Transport>,
        clock: &WallClock,
        dht: DhtConfig,
    ) -> Self {
        let runtime = Executor::Current.start().unwrap();
        let role = if address.is_some() {
            Role::Server
        } else {
            Role::Client
        };
        let config = EndpointConfig {
            role,
            seed: Some(1),
            ..EndpointConfig::default()
        };
        let endpoint = Endpoint::start(runtime, transport, config).unwrap();
        let config = DhtConfig {
            seed: Some(secret_key.to_bytes()[0].into()),
            ..dht
        };
        let dht = KademliaDht::start(endpoint.clone(), clock.clone(), config).unwrap();
        Self {
            secret_key,
            endpoint,
            dht,
            clock: clock.clone(),
            address,
        }
    }

    pub(crate) fn contact(&self) -> Contact {
        Contact::new(self.secret_key.node_id(), self.address)
    }

    pub(crate) fn target(&self) -> DialTarget {
        DialTarget::from(self.contact())
    }

    pub(crate) fn record(&self, service: &str, seq: u64) -> ProviderRecord {
        let draft = RecordDraft {
            realm: Realm::default(),
            service: service.parse().unwrap(),
            addresses: self.contact().addresses,
            metadata: Metadata::new(),
            delivery: Delivery::AtLeastOnce,
            seq,
            issued_at: (self.clock)(),
            ttl: TTL,
            extensions: Extensions::default(),
        };
        ProviderRecord::sign(&self.secret_key, draft).unwrap()
    }

    pub(crate) async fn announce(&self, service: &str, seq: u64) -> Result<usize, DhtError> {
        let report = in_time(self.dht.announce(vec![self.record(service, seq)])).await?;
        Ok(report.records[0].holders)
    }

    pub(crate) async fn withdraw(&self, service: &str, seq: u64) -> Result<usize, DhtError> {
        let draft = WithdrawalDraft {
            realm: Realm::default(),
            service: service.parse().unwrap(),
            seq,
            until: (self.clock)().saturating_add(TTL),
        };
        let withdrawal = Withdrawal::sign(&self.secret_key, draft).unwrap();
        let report = in_time(self.dht.withdraw(vec![withdrawal])).await?;
        Ok(report.acknowledged())
    }

    pub(crate) async fn find(&self, service: &str, scope: Scope) -> Result<Found, DhtError> {
        self.find_with(service, scope, Duration::from_secs(5)).await
    }

    pub(crate) async fn find_within(
        &self,
        service: &str,
        timeout: Duration,
    ) -> Result<Found, DhtError> {
        self.find_with(service, Scope::Network, timeout).await
    }

    async fn find_with(
        &self,
        service: &str,
        scope: Scope,
        timeout: Duration,
    ) -> Result<Found, DhtError> {
        let options = FindOptions {
            want: NonZeroUsize::new(64).unwrap(),
            timeout,
            scope,
            trace: false,
        };
        let key = Key::of_service(&Realm::default(), &service.parse().unwrap());
        in_time(self.dht.find(key, options)).await
    }

    /// The sequence numbers of what is found, sorted.
    pub(crate) async fn providers(&self, service: &str) -> Vec<u64> {
        let found = self.find(service, Scope::Network).await.unwrap();
        let mut seqs: Vec<u64> = found
            .providers
            .iter()
            .map(|found| found.record.seq())
            .collect();
        seqs.sort_unstable();
        seqs
    }
}

/// Servers on one network, each joined through the first.
pub(crate) async fn servers(count: u8) -> (Arc<MemoryNetwork>, Vec<Node>) {
    servers_with(count, &DhtConfig::default()).await
}

/// The same with settings of one's own.
pub(crate) async fn servers_with(count: u8, config: &DhtConfig) -> (Arc<MemoryNetwork>, Vec<Node>) {
    let network = MemoryNetwork::new(1);
    network.set_latency(Duration::from_millis(1)..=Duration::from_millis(5));
    let clock = contract::wall_clock();
    let mut nodes: Vec<Node> = Vec::new();
    for seed in 1..=count {
        let node = Node::server_with(&network, &clock, seed, config);
        if let Some(first) = nodes.first() {
            in_time(node.dht.join(&[first.target()])).await.unwrap();
        }
        nodes.push(node);
    }
    // Everybody who was dialled has to dial back before it knows the dialler.
    for node in &nodes {
        let others = nodes.len().min(5) - 1;
        in_time(node.dht.wait_for_contacts(others)).await.unwrap();
    }
    (network, nodes)
}

/// Nothing on the network takes this long unless it hangs.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .unwrap_or_else(|_| panic!("it hangs"))
}

/// What every record of these tests lives.
pub(crate) const TTL: Duration = Duration::from_secs(300);
