//! The services of a scenario, one provider each.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use macula_core::{
    Addresses, Delivery, Extensions, Key, Metadata, NodeId, ProviderRecord, Realm, RecordDraft,
    RecordError, ServiceName, Withdrawal, WithdrawalDraft,
};
use macula_dht::message::{LiveRecord, LiveWithdrawal};

use crate::Network;

/// A service and who provides it.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) provider: usize,
    pub(super) provider_id: NodeId,
    pub(super) key: Key,
    name: ServiceName,
}

impl Service {
    /// The service with this index, of this provider.
    pub(super) fn new(network: &Network, index: usize, provider: usize) -> Option<Self> {
        let name: ServiceName = format!("sim.service.n{index}").parse().ok()?;
        Some(Self {
            provider,
            provider_id: network.contact(provider)?.node_id,
            key: Key::of_service(&Realm::default(), &name),
            name,
        })
    }

    /// Its provider's first record.
    pub(super) fn record(&self, network: &Network) -> Result<LiveRecord, RecordError> {
        let draft = RecordDraft {
            realm: Realm::default(),
            service: self.name.clone(),
            addresses: Addresses::from_iter([ADDRESS]),
            metadata: Metadata::new(),
            delivery: Delivery::AtLeastOnce,
            seq: SEQ,
            issued_at: network.wall_clock(),
            ttl: TTL,
            extensions: Extensions::default(),
        };
        let record = ProviderRecord::sign(&network.secret_key(self.provider), draft)?;
        Ok(LiveRecord { record, life: TTL })
    }

    /// The withdrawal of that record.
    pub(super) fn withdrawal(&self, network: &Network) -> Result<LiveWithdrawal, RecordError> {
        let draft = WithdrawalDraft {
            realm: Realm::default(),
            service: self.name.clone(),
            seq: SEQ,
            until: network.wall_clock().saturating_add(TTL),
        };
        let withdrawal = Withdrawal::sign(&network.secret_key(self.provider), draft)?;
        let life = withdrawal.admit(network.wall_clock())?;
        Ok(LiveWithdrawal { withdrawal, life })
    }
}

/// Longer than any scenario goes on, which therefore needs no refresh.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);

const SEQ: u64 = 1;

/// Nobody calls a simulated service, so all may be at the same address.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4433);
