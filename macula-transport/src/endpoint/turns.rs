//! How many long bodies travel at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of the long bodies that this node sends on one connection. Requests and replies have
/// their own: a reply that waited for a request to be answered could wait for itself.
pub(super) struct Turns {
    requests: Arc<Semaphore>,
    replies: Arc<Semaphore>,
}

/// Held while one long body is being sent.
pub(super) type Turn = Option<OwnedSemaphorePermit>;

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(MAX_ALONE)),
            replies: Arc::new(Semaphore::new(MAX_ALONE)),
        }
    }

    pub(super) async fn request(&self) -> Turn {
        // It is never closed.
        Arc::clone(&self.requests).acquire_owned().await.ok()
    }

    pub(super) async fn reply(&self) -> Turn {
        Arc::clone(&self.replies).acquire_owned().await.ok()
    }
}

/// The most long requests, and the most long replies, that are sent on streams of their own at a
/// time. The others wait for their turn, so that lanes always find room in the connection's window
/// and among its streams.
pub(super) const MAX_ALONE: usize = 8;
