//! Who answers which protocol, and how much is answered at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::request::{ProtocolId, ProtocolTaken, RequestHandler};
use crate::Refusal;

/// The handlers, and the permits for their work.
pub(super) struct Dispatch {
    handlers: RwLock<BTreeMap<ProtocolId, Arc<dyn RequestHandler>>>,
    requests: Arc<Semaphore>,
    max_requests: usize,
    body_blocks: Arc<Semaphore>,
    draining: AtomicBool,
}

/// Leave to work on one request.
pub(super) struct Admission {
    _total: OwnedSemaphorePermit,
    _of_peer: OwnedSemaphorePermit,
}

/// Memory set aside for one body, as much of it as has arrived: what is only announced costs
/// nothing, so that nobody can be kept out by it.
pub(super) struct Memory {
    blocks: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    held_bytes: usize,
}

impl Memory {
    /// Sets aside enough for so many bytes in all; says whether there is as much.
    pub(super) fn grow_to(&mut self, len_bytes: usize) -> bool {
        let missing = len_bytes.saturating_sub(self.held_bytes);
        let blocks = missing.div_ceil(BLOCK_BYTES);
        if blocks == 0 {
            return true;
        }
        let wanted = u32::try_from(blocks).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.blocks).try_acquire_many_owned(wanted) else {
            return false;
        };
        self.held_bytes += blocks * BLOCK_BYTES;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        true
    }
}

impl Dispatch {
    pub(super) fn new(max_requests: usize, max_message_bytes: usize) -> Self {
        let max_requests = max_requests.min(MAX_PERMITS);
        let max_bytes = MAX_INBOUND_BYTES.max(max_message_bytes);
        Self {
            handlers: RwLock::default(),
            requests: Arc::new(Semaphore::new(max_requests)),
            max_requests,
            body_blocks: Arc::new(Semaphore::new(max_bytes.div_ceil(BLOCK_BYTES))),
            draining: AtomicBool::new(false),
        }
    }

    pub(super) fn register(
        &self,
        protocol: ProtocolId,
        handler: Arc<dyn RequestHandler>,
    ) -> Result<(), ProtocolTaken> {
        let mut handlers = self
            .handlers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if protocol == ProtocolId::CONTROL || handlers.contains_key(&protocol) {
            return Err(ProtocolTaken(protocol));
        }
        handlers.insert(protocol, handler);
        Ok(())
    }

    pub(super) fn handler(&self, protocol: ProtocolId) -> Option<Arc<dyn RequestHandler>> {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        handlers.get(&protocol).cloned()
    }

    /// Admits a request of a peer, or says at once why not.
    pub(super) fn admit(&self, of_peer: &Arc<Semaphore>) -> Result<Admission, Refusal> {
        if self.is_draining() {
            return Err(Refusal::ShuttingDown);
        }
        let permit = |permits: &Arc<Semaphore>| {
            Arc::clone(permits)
                .try_acquire_owned()
                .map_err(|_| Refusal::Overloaded)
        };
        Ok(Admission {
            _of_peer: permit(of_peer)?,
            _total: permit(&self.requests)?,
        })
    }

    /// Memory for a body that is about to be read: none yet.
    pub(super) fn memory(&self) -> Memory {
        Memory {
            blocks: Arc::clone(&self.body_blocks),
            held: None,
            held_bytes: 0,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Refuses everything from now on.
    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits until nothing is being worked on; only after [`start_draining`](Self::start_draining).
    pub(super) async fn idle(&self) {
        let all = u32::try_from(self.max_requests).unwrap_or(u32::MAX);
        let _ = self.requests.acquire_many(all).await;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.max_requests - self.requests.available_permits().min(self.max_requests)
    }

    /// Lets go of the handlers, which may hold the endpoint.
    pub(super) fn clear(&self) {
        let mut handlers = self
            .handlers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let dropped = std::mem::take(&mut *handlers);
        drop(handlers);
        drop(dropped);
    }
}

/// The most permits that can be waited for at once.
const MAX_PERMITS: usize = u32::MAX as usize;

/// The most memory for the bodies of requests being read or handled, all peers together; one of
/// the greatest length always fits.
const MAX_INBOUND_BYTES: usize = 128 * 1024 * 1024;

/// Memory for bodies is counted in blocks of this size.
const BLOCK_BYTES: usize = 1024;
