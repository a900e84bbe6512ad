//! Sequence numbers that are reserved before they are used.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use macula_core::{
    SEQUENCE_AHEAD, SEQUENCE_RESERVE, SequenceStore, Timestamp, sequence_reservation,
};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tracing::{debug, warn};

/// The numbers that this node may sign with; more are reserved long before they are used up.
///
/// Signing never waits for a disk: near the end of what is reserved, numbers stop following the
/// clock and grow by one, and a spare is left for that: of millions, or of thousands for each
/// service while numbers are ahead of the clock as after a restart.
pub(super) struct Numbers {
    store: Arc<dyn SequenceStore>,
    runtime: Handle,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_reserving: AtomicBool,
    failures: AtomicU64,
}

impl Numbers {
    pub(super) fn new(store: Arc<dyn SequenceStore>, runtime: Handle) -> Self {
        Self {
            store,
            runtime,
            state: Arc::default(),
        }
    }

    /// The time as far as numbers may follow it.
    pub(super) fn clock(&self, now: Timestamp) -> Timestamp {
        let end = Timestamp::from_unix_millis(self.store.reserved());
        now.min(end.saturating_sub(SPARE))
    }

    /// Reserves more, in the background, when half of what is reserved at a time is used up.
    pub(super) fn used(&self, seq: u64, now: Timestamp) {
        let half_way = now.saturating_add(SEQUENCE_RESERVE / 2).unix_millis();
        let least = half_way.max(seq.saturating_add(SEQUENCE_AHEAD / 2));
        let has_enough = self.store.reserved() >= least;
        if has_enough || self.state.is_reserving.swap(true, Ordering::AcqRel) {
            return;
        }
        let end = sequence_reservation(now, seq);
        let store = Arc::clone(&self.store);
        let state = Arc::clone(&self.state);
        self.runtime.spawn(async move {
            let reserved = tokio::task::spawn_blocking(move || store.reserve(end)).await;
            if let Err(error) = reserved.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                state.failed(&error);
                sleep(PAUSE).await;
            }
            state.is_reserving.store(false, Ordering::Release);
        });
    }

    /// How many attempts to reserve numbers have failed.
    pub(super) fn failures(&self) -> u64 {
        self.state.failures.load(Ordering::Relaxed)
    }
}

impl State {
    fn failed(&self, error: &io::Error) {
        if self.failures.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(%error, "sequence numbers cannot be saved: a restart must not set the clock back");
        } else {
            debug!(%error, "sequence numbers still cannot be saved");
        }
    }
}

/// How far before the end of what is reserved numbers stop following the clock. Each millisecond
/// of it is one more number to sign with while no more can be reserved.
const SPARE: Duration = Duration::from_secs(30 * 60);

/// How long after a failure the next attempt to reserve comes.
const PAUSE: Duration = Duration::from_secs(60);
