//! What can be set about the machine.

use std::num::NonZeroUsize;
use std::time::Duration;

use macula_core::NodeId;

use crate::message::MAX_CONTACTS;

/// Who the machine speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// This node.
    pub node_id: NodeId,
    /// Whether it holds records for others and answers requests. A node that does not still
    /// announces, withdraws and finds.
    pub serves: bool,
}

/// Settings of [`Kademlia`](super::Kademlia).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KadConfig {
    /// Contacts per bucket, and how many of the closest a lookup hears before it ends
    /// (Kademlia §2.2); at most [`MAX_CONTACTS`]. Raising it costs requests.
    pub k: NonZeroUsize,
    /// Requests of one lookup that are in flight at once. Raising it costs requests.
    pub alpha: NonZeroUsize,
    /// Contacts per bucket from one IPv4 /24 or IPv6 /48, by their first address; `None` sets no
    /// limit, as a mesh in one local network needs. Raising it lets one operator fill more of
    /// the table.
    pub max_per_subnet: Option<NonZeroUsize>,
    /// Nodes that hold each record. Raising it costs a request per record and refresh.
    pub replication: NonZeroUsize,
    /// Acknowledgements after which an announcement has succeeded; at most `replication`.
    pub quorum: NonZeroUsize,
    /// When a request without an answer has failed. Raising it delays the discovery of the dead.
    pub request_timeout: Duration,
    /// Longest walk to the closest nodes, for announce, withdraw, join and refresh.
    pub walk_timeout: Duration,
    /// Time between two rounds of refreshing buckets and retrying bootstrap peers. Shortening it
    /// costs requests while idle.
    pub refresh_interval: Duration,
    /// Announcements, withdrawals and finds that run at once. Raising it costs memory.
    pub max_operations: NonZeroUsize,
    /// Caps of the provider store.
    pub store: StoreConfig,
}

/// Caps of the provider store. A node's own claims count towards none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreConfig {
    /// Records in all. Each costs at most about 8 KiB of memory.
    pub max_records: usize,
    /// Claims under one key.
    pub max_per_key: usize,
    /// Claims of one provider.
    pub max_per_provider: usize,
    /// Records that one peer brought, whoever their providers are: a share of `max_records` that
    /// leaves room for others, since identities cost nothing.
    pub max_per_peer: usize,
    /// Remembered withdrawals in all. When there are more, whoever brought most of them gives one
    /// up.
    pub max_tombstones: usize,
    /// Records that are over and remembered, so that a replay does not bring them back. Each
    /// costs about 200 bytes of memory.
    pub max_expired: usize,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KadConfigError {
    /// Answers could not carry so many contacts.
    #[error("k is {0}, more than {MAX_CONTACTS}")]
    TooManyContacts(NonZeroUsize),
    /// So many acknowledgements could never come in.
    #[error("quorum {quorum} is greater than replication {replication}")]
    QuorumAboveReplication {
        /// The quorum.
        quorum: NonZeroUsize,
        /// The replication.
        replication: NonZeroUsize,
    },
    /// A lookup does not hear so many of the closest.
    #[error("replication {replication} is greater than k {k}")]
    ReplicationAboveK {
        /// The replication.
        replication: NonZeroUsize,
        /// The k.
        k: NonZeroUsize,
    },
    /// Nothing could be done in no time.
    #[error("a timeout or interval is zero")]
    ZeroDuration,
    /// Nobody waits for so long; more could not be added to the time.
    #[error("a timeout or interval of {0:?} is longer than {LONGEST:?}")]
    TooLong(Duration),
}

impl KadConfig {
    /// Whether the settings make sense together.
    ///
    /// # Errors
    /// [`KadConfigError`], the first that applies.
    pub fn check(&self) -> Result<(), KadConfigError> {
        if self.k.get() > MAX_CONTACTS {
            return Err(KadConfigError::TooManyContacts(self.k));
        }
        if self.quorum > self.replication {
            return Err(KadConfigError::QuorumAboveReplication {
                quorum: self.quorum,
                replication: self.replication,
            });
        }
        if self.replication > self.k {
            return Err(KadConfigError::ReplicationAboveK {
                replication: self.replication,
                k: self.k,
            });
        }
        let durations = [
            self.request_timeout,
            self.walk_timeout,
            self.refresh_interval,
        ];
        if durations.iter().any(Duration::is_zero) {
            return Err(KadConfigError::ZeroDuration);
        }
        let too_long = durations.into_iter().find(|duration| *duration > LONGEST);
        if let Some(too_long) = too_long {
            return Err(KadConfigError::TooLong(too_long));
        }
        Ok(())
    }
}

/// The longest timeout or interval.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Default for KadConfig {
    fn default() -> Self {
        Self {
            k: at_least_one(20),
            alpha: at_least_one(3),
            max_per_subnet: None,
            replication: at_least_one(8),
            quorum: at_least_one(5),
            request_timeout: Duration::from_secs(2),
            walk_timeout: Duration::from_secs(10),
            refresh_interval: Duration::from_secs(5 * 60),
            max_operations: at_least_one(1024),
            store: StoreConfig::default(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            max_records: 24 * 1024,
            max_per_key: 1024,
            max_per_provider: 16 * 1024,
            max_per_peer: 12 * 1024,
            max_tombstones: 8 * 1024,
            max_expired: 32 * 1024,
        }
    }
}

const fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(number.saturating_sub(1))
}
