//! Who this node is when it signs what it provides.

use std::fmt;
use std::sync::Arc;

use macula_core::{Addresses, NodeId, Realm, SecretKey, SequenceStore, WallClock};

/// Who advertises: the key that signs, the realm, and where the node can be dialled just now.
#[derive(Clone)]
pub struct Identity {
    /// Signs records and withdrawals.
    pub secret_key: SecretKey,
    /// The realm of every service that is advertised or resolved here.
    pub realm: Realm,
    /// Where the node can be dialled; asked anew for every batch of records, so it may change over
    /// time. Cheap, and never blocks.
    pub addresses: Arc<dyn Fn() -> Addresses + Send + Sync>,
    /// The time that records state. Nothing here is aged by it.
    pub clock: WallClock,
    /// Which sequence numbers this identity has used. Without one that outlives the run,
    /// [`UnsavedSequence`](macula_core::UnsavedSequence), the claims of the next run lose against
    /// this one's when the clock was set back in between.
    pub sequences: Arc<dyn SequenceStore>,
}

impl Identity {
    /// The node that signs.
    pub fn node_id(&self) -> NodeId {
        self.secret_key.node_id()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node_id", &self.node_id())
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}
