//! Runs the Kademlia machine over an endpoint, as an implementation of [`Dht`].

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use macula_core::{Contact, Key, NodeId, ProviderRecord, WallClock, Withdrawal};
use macula_transport::{Endpoint, Peer, ProtocolId, Role};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::kad::{Ask, Kademlia, Local, Search};
use crate::message::{LiveRecord, LiveWithdrawal};
use crate::{
    AnnounceReport, Dht, DhtConfig, DhtConfigError, DhtError, FindOptions, Found, Scope,
    WithdrawReport,
};

mod answer;
mod command;
mod handler;
mod join;
mod rate;
mod recent;
mod shared;
mod stats;
mod task;
mod verifier;

pub use join::{JoinError, JoinFailure, JoinFailureCause, JoinReport};
pub use stats::DhtStats;

use command::Command;
use handler::Handler;
use shared::Shared;
use task::Task;

/// A node's access to the Kademlia network.
///
/// Its task ends with [`shutdown`](Self::shutdown) or when the last reference is dropped.
pub struct KademliaDht {
    endpoint: Endpoint,
    clock: WallClock,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    contacts: watch::Receiver<usize>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl KademliaDht {
    /// Starts on the endpoint's runtime and answers DHT requests if the endpoint is a server.
    ///
    /// # Errors
    /// [`DhtConfigError`]; then nothing was started.
    pub fn start(
        endpoint: Endpoint,
        clock: WallClock,
        config: DhtConfig,
    ) -> Result<Arc<Self>, DhtConfigError> {
        let local = Local {
            node_id: endpoint.node_id(),
            serves: endpoint.role() == Role::Server,
        };
        let seed = config.seed.unwrap_or_else(|| derived_seed(&local, &clock));
        let machine = Kademlia::new(config.kad, local, seed)?;
        let (commands, inbox) = mpsc::channel(config.queue_len.get());
        let rates = [config.requests_per_peer, config.claims_per_peer];
        let shared = Arc::new(Shared::new(machine, clock.clone(), rates));
        let handler = Handler::new(&shared, &commands);
        let max_under_way = config.max_under_way.get();
        let (task, contacts) = Task::new(shared.clone(), endpoint.clone(), inbox, max_under_way);
        endpoint
            .register_inline(ProtocolId::DHT, Arc::new(handler))
            .map_err(|_| DhtConfigError::AlreadyStarted)?;
        let task = endpoint.runtime().spawn(task.run());
        Ok(Arc::new(Self {
            endpoint,
            clock,
            commands,
            shared,
            contacts,
            task: Mutex::new(Some(task)),
        }))
    }

    /// Counters and sizes.
    pub fn stats(&self) -> DhtStats {
        self.shared.stats()
    }

    /// Waits until so many other nodes are known, by then or already.
    ///
    /// # Errors
    /// [`DhtError::Closed`] when that will not be any more.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait_for_contacts(&self, at_least: usize) -> Result<(), DhtError> {
        let mut contacts = self.contacts.clone();
        let enough = contacts.wait_for(|count| *count >= at_least).await;
        enough.map(drop).map_err(|_| DhtError::Closed)
    }

    /// Ends the task. Whatever is under way, or asked later, fails with [`DhtError::Closed`].
    ///
    /// # Cancel safety
    /// The task ends even if the future is dropped.
    pub async fn shutdown(&self) {
        let task = {
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.take()
        };
        if let Some(task) = task {
            task.abort();
            // It is cancelled, which is what was asked for.
            let _cancelled = task.await;
        }
    }

    /// Hands a command over and waits for its answer.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, DhtError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| DhtError::Closed)?;
        answer.await.map_err(|_| DhtError::Closed)
    }

    fn connected(&self) -> Vec<Contact> {
        let peers = self.endpoint.peers().into_iter();
        peers
            .filter(|peer| peer.role == Role::Server)
            .map(|peer| Contact {
                node_id: peer.node_id,
                addresses: peer.addresses,
            })
            .collect()
    }
}

#[async_trait]
impl Dht for KademliaDht {
    async fn announce(&self, records: Vec<ProviderRecord>) -> Result<AnnounceReport, DhtError> {
        let now = (self.clock)();
        let live = records.into_iter().map(|record| {
            // What is out of its time has no life left, and no holder in the report.
            let life = record.admit(now, record.ttl()).unwrap_or_default();
            LiveRecord { record, life }
        });
        let records = live.collect();
        self.ask(|reply| Command::Announce(records, reply)).await?
    }

    async fn withdraw(&self, withdrawals: Vec<Withdrawal>) -> Result<WithdrawReport, DhtError> {
        let now = (self.clock)();
        let live = withdrawals.into_iter().map(|withdrawal| {
            // What nobody has to remember any more is withdrawn already.
            let life = withdrawal.admit(now).unwrap_or_default();
            LiveWithdrawal { withdrawal, life }
        });
        let withdrawals: Vec<_> = live.collect();
        self.ask(|reply| Command::Withdraw(withdrawals, reply))
            .await?
    }

    async fn find(&self, key: Key, options: FindOptions) -> Result<Found, DhtError> {
        let FindOptions {
            want,
            timeout,
            scope,
            trace,
        } = options;
        let ask = match scope {
            Scope::Network => Ask::Network,
            Scope::Connected => Ask::Only(self.connected()),
        };
        let search = Search {
            key,
            want: want.min(MAX_WANTED),
            timeout,
            ask,
            trace,
        };
        self.ask(|reply| Command::Find(search, reply)).await?
    }

    async fn locate(
        &self,
        node_id: NodeId,
        timeout: Duration,
    ) -> Result<Option<Contact>, DhtError> {
        self.ask(|reply| Command::Locate(node_id, timeout, reply))
            .await?
    }
}

/// A peer that answered where we dialled it, if it serves.
fn reached(peer: Peer) -> Option<Contact> {
    (peer.role == Role::Server && !peer.addresses.is_empty()).then_some(Contact {
        node_id: peer.node_id,
        addresses: peer.addresses,
    })
}

fn derived_seed(local: &Local, clock: &WallClock) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&local.node_id.as_bytes()[..8]);
    u64::from_be_bytes(bytes) ^ clock().unix_millis()
}

/// More would not fit a request.
const MAX_WANTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(u16::MAX as usize - 1);
