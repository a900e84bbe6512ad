//! The services of a simulation and who provides them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use macula_core::{
    Addresses, Delivery, Extensions, Key, Metadata, NodeId, ProviderRecord, Realm, RecordDraft,
    RecordError, ServiceName, Withdrawal, WithdrawalDraft,
};
use macula_dht::Found;
use macula_dht::message::{LiveRecord, LiveWithdrawal};

use crate::Network;

/// A service, who provides it, and who ever did.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) key: Key,
    name: ServiceName,
    pub(super) providers: Vec<Provider>,
    /// Everybody who ever announced it.
    announcers: BTreeSet<NodeId>,
    /// Those of them who have withdrawn it; others may have left without a word.
    pub(super) withdrawn_by: BTreeSet<NodeId>,
    /// When the last withdrawal returned, if it did.
    pub(super) withdrawn_at: Option<Duration>,
    /// Whether its withdrawal has begun: it is refreshed no more.
    pub(super) is_over: bool,
}

/// One of those who provide a service.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    pub(super) node: usize,
    pub(super) node_id: NodeId,
    /// Whether an announcement of it has succeeded.
    pub(super) announced: bool,
    seq: u64,
}

/// How a find compares with what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Somebody who provides it is among those found.
    Found,
    /// Nobody who does is.
    Missed,
    /// It found somebody who never announced this.
    Invented,
    /// It found whoever withdrew it long enough before.
    Resurrected,
    /// Its last provider left in the meantime, so that it says nothing.
    Void,
}

impl Service {
    /// The service with this number, which nobody provides yet.
    pub(super) fn new(number: usize) -> Option<Self> {
        let name: ServiceName = format!("sim.service.n{number}").parse().ok()?;
        Some(Self {
            key: Key::of_service(&Realm::default(), &name),
            name,
            providers: Vec::new(),
            announcers: BTreeSet::new(),
            withdrawn_by: BTreeSet::new(),
            withdrawn_at: None,
            is_over: false,
        })
    }

    pub(super) fn add_provider(&mut self, node: usize, node_id: NodeId) {
        self.providers.push(Provider {
            node,
            node_id,
            announced: false,
            seq: 0,
        });
    }

    pub(super) fn provider_mut(&mut self, node: usize) -> Option<&mut Provider> {
        self.providers
            .iter_mut()
            .find(|provider| provider.node == node)
    }

    pub(super) fn is_provided_by(&self, node: usize) -> bool {
        self.providers.iter().any(|provider| provider.node == node)
    }

    /// Whether finds of it have to succeed.
    pub(super) fn is_announced(&self) -> bool {
        !self.is_over && self.providers.iter().any(|provider| provider.announced)
    }

    /// The next record of a provider; `None` when it is none any more.
    pub(super) fn next_record(
        &mut self,
        network: &Network,
        node: usize,
        ttl: Duration,
    ) -> Option<Result<LiveRecord, RecordError>> {
        if self.is_over {
            return None;
        }
        // As a node does that comes back with nothing: never less than it used before.
        let least = network.wall_clock().unix_millis();
        let provider = self.provider_mut(node)?;
        provider.seq = least.max(provider.seq + 1);
        let (seq, node_id) = (provider.seq, provider.node_id);
        self.announcers.insert(node_id);
        Some(self.record(network, (node, seq), ttl))
    }

    fn record(
        &self,
        network: &Network,
        (node, seq): (usize, u64),
        ttl: Duration,
    ) -> Result<LiveRecord, RecordError> {
        let draft = RecordDraft {
            realm: Realm::default(),
            service: self.name.clone(),
            addresses: Addresses::from_iter([ADDRESS]),
            metadata: Metadata::new(),
            delivery: Delivery::AtLeastOnce,
            seq,
            issued_at: network.wall_clock(),
            ttl,
            extensions: Extensions::default(),
        };
        let record = ProviderRecord::sign(&network.secret_key(node), draft)?;
        Ok(LiveRecord { record, life: ttl })
    }

    /// The withdrawal of a provider's last record.
    pub(super) fn withdrawal(
        &self,
        network: &Network,
        provider: &Provider,
        ttl: Duration,
    ) -> Result<LiveWithdrawal, RecordError> {
        let draft = WithdrawalDraft {
            realm: Realm::default(),
            service: self.name.clone(),
            seq: provider.seq,
            until: network.wall_clock().saturating_add(ttl),
        };
        let withdrawal = Withdrawal::sign(&network.secret_key(provider.node), draft)?;
        let life = withdrawal.admit(network.wall_clock())?;
        Ok(LiveWithdrawal { withdrawal, life })
    }

    /// Judges a find that began at `began`.
    pub(super) fn judge(&self, found: &Found, began: Duration) -> Verdict {
        let mut providers = found.providers.iter().map(|found| found.record.provider());
        if providers
            .clone()
            .any(|found| !self.announcers.contains(&found))
        {
            return Verdict::Invented;
        }
        if let Some(withdrawn_at) = self.withdrawn_at {
            let has_withdrawn = |found: NodeId| self.withdrawn_by.contains(&found);
            let is_late = began >= withdrawn_at + VISIBLE_AFTER;
            return if is_late && providers.any(has_withdrawn) {
                Verdict::Resurrected
            } else {
                Verdict::Missed
            };
        }
        let provides = |found: NodeId| {
            let mut announced = self.providers.iter().filter(|provider| provider.announced);
            announced.any(|provider| provider.node_id == found)
        };
        if providers.any(provides) {
            Verdict::Found
        } else if self.is_announced() {
            Verdict::Missed
        } else {
            Verdict::Void
        }
    }
}

/// A withdrawal has to be seen by finds that start so long after it returned.
pub(super) const VISIBLE_AFTER: Duration = Duration::from_secs(2);

/// Nobody calls a simulated service, so all may be at the same address.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4433);
