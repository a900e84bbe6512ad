//! How many long bodies travel at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::stats::Counters;

/// The turns of the long bodies that this node sends on one connection. Requests and replies have
/// their own: a reply that waited for a request to be answered could wait for itself.
pub(super) struct Turns {
    requests: Arc<Semaphore>,
    replies: Arc<Semaphore>,
}

/// Held while one long body is under way.
pub(super) type Turn = OwnedSemaphorePermit;

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(MAX_ALONE)),
            replies: Arc::new(Semaphore::new(MAX_ALONE * KIB_OF_A_REPLY as usize)),
        }
    }

    pub(super) async fn request(&self, counters: &Counters) -> Option<Turn> {
        if let Ok(turn) = Arc::clone(&self.requests).try_acquire_owned() {
            return Some(turn);
        }
        let _waiting = counters.request_waits();
        // It is never closed.
        Arc::clone(&self.requests).acquire_owned().await.ok()
    }

    /// To be kept until the peer has read the reply: what a transport has taken of it, and the peer
    /// has not, is memory that only this bounds.
    pub(super) async fn reply(&self, len_bytes: usize) -> Option<Turn> {
        let kib = u32::try_from(len_bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let weight = kib.clamp(LEAST_KIB_OF_A_REPLY, KIB_OF_A_REPLY);
        let replies = Arc::clone(&self.replies);
        replies.acquire_many_owned(weight).await.ok()
    }
}

/// The most long requests, and the most of the longest replies, that are sent on streams of their
/// own at a time; shorter replies count for less. The others wait for their turn, so that lanes
/// always find room in the connection's window and among its streams.
pub(super) const MAX_ALONE: usize = 8;

/// What the longest replies count for, in KiB: more than a transport takes of one that the peer does
/// not read.
const KIB_OF_A_REPLY: u32 = 1024;

/// What the shortest of them count for: each may have a datagram go before a small one, and so many
/// more of them would make that wait for longer.
const LEAST_KIB_OF_A_REPLY: u32 = 256;
