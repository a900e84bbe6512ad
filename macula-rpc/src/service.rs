//! What is registered under a name: a handler, how and for whom it runs, and how it ends.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::timeout;

use crate::config::DEFAULT_MAX_RUNNING_PER_SERVICE;
use crate::metrics::Served;
use crate::places::Places;
use crate::{Access, Handler};

/// A handler with its limits: what a [`Registry`](macula_registry::Registry) keeps under a name.
///
/// Clones share the limit and the end. One service belongs to one advertisement: once retired, it
/// admits no call again.
#[derive(Clone)]
pub struct Service(Arc<Shared>);

/// How a service runs its handler.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// The most calls at a time; more are answered as overload.
    pub max_running: NonZeroUsize,
    /// Where the handler runs.
    pub runs: Runs,
    /// Who may call.
    pub access: Access,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            max_running: DEFAULT_MAX_RUNNING_PER_SERVICE,
            runs: Runs::default(),
            access: Access::default(),
        }
    }
}

/// Where a handler runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Runs {
    /// In a task of its own, on the runtime that was given for handlers. One that blocks its thread
    /// cannot be stopped there: until it returns, whoever calls it keeps what it takes of this
    /// node's limits, those of requests at a time in all and per peer included.
    #[default]
    Spawned,
    /// Where calls come in: on the node's own thread, beside its connections. For handlers that
    /// never block and compute for microseconds only: whatever one takes, everybody waits for. What
    /// it answers without waiting costs neither a task nor a change of threads.
    Inline,
}

struct Shared {
    handler: Arc<dyn Handler>,
    runs: Runs,
    access: Access,
    /// Closed once it is retired.
    places: Places,
    is_aborting: AtomicBool,
    aborting: Arc<Notify>,
    /// Of the name that it was first called by.
    meter: OnceLock<Arc<Served>>,
}

impl Service {
    /// A service with the default options.
    pub fn new(handler: Arc<dyn Handler>) -> Self {
        Self::with_options(handler, ServiceOptions::default())
    }

    /// A service with these options.
    pub fn with_options(handler: Arc<dyn Handler>, options: ServiceOptions) -> Self {
        Self(Arc::new(Shared {
            handler,
            runs: options.runs,
            access: options.access,
            places: Places::new(options.max_running.get()),
            is_aborting: AtomicBool::new(false),
            aborting: Arc::default(),
            meter: OnceLock::new(),
        }))
    }

    /// How many of its handlers run now.
    pub fn running(&self) -> usize {
        self.0.places.taken()
    }

    /// Admits no further call, waits for the running ones, and aborts those that still run after
    /// `patience`. Says whether all have ended: one that blocks its thread cannot be aborted and
    /// is waited for no longer than `patience` once more.
    ///
    /// # Cancel safety
    /// The service stays retired; running handlers go on.
    pub async fn retire(&self, patience: Duration) -> bool {
        self.0.places.close();
        if self.ended_within(patience).await {
            return true;
        }
        self.0.is_aborting.store(true, Ordering::SeqCst);
        self.0.aborting.notify_waiters();
        self.ended_within(patience).await
    }

    async fn ended_within(&self, patience: Duration) -> bool {
        timeout(patience, self.0.places.emptied()).await.is_ok()
    }

    pub(crate) fn runs(&self) -> Runs {
        self.0.runs
    }

    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }

    pub(crate) fn handler(&self) -> Arc<dyn Handler> {
        self.0.handler.clone()
    }

    /// What its calls are counted into, looked up once.
    pub(crate) fn meter(&self, look_up: impl FnOnce() -> Arc<Served>) -> &Served {
        self.0.meter.get_or_init(look_up)
    }

    /// One for each running handler.
    pub(crate) fn places(&self) -> &Places {
        &self.0.places
    }

    /// Whether running handlers are to end at once.
    pub(crate) fn is_aborting(&self) -> bool {
        self.0.is_aborting.load(Ordering::SeqCst)
    }

    /// Waits until they are; who was so before is not waited for.
    pub(crate) fn aborting(&self) -> OwnedNotified {
        Arc::clone(&self.0.aborting).notified_owned()
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::NoPlace;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn service(max_running: usize) -> Service {
        let handler = crate::raw(|bytes| async move { Ok(bytes) });
        let options = ServiceOptions {
            max_running: NonZeroUsize::new(max_running).unwrap(),
            ..ServiceOptions::default()
        };
        Service::with_options(handler, options)
    }

    #[tokio::test(start_paused = true)]
    async fn a_retired_service_admits_nothing_for_good() {
        let service = service(2);
        assert!(service.retire(PATIENCE).await);
        assert_eq!(service.places().take(), Err(NoPlace::Closed));
        assert!(service.retire(PATIENCE).await, "twice is harmless");
        assert_eq!(service.places().take(), Err(NoPlace::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_while_a_service_retires_is_counted_until_it_ends() {
        let service = service(2);
        service.places().take().unwrap();
        let retire = service.retire(PATIENCE);
        let end = async {
            tokio::time::sleep(PATIENCE / 2).await;
            assert_eq!(service.running(), 1);
            service.places().give_back();
        };
        assert_eq!(tokio::join!(retire, end), (true, ()));
        assert_eq!(service.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_aborted_is_waited_for_no_longer_than_twice() {
        let service = service(2);
        service.places().take().unwrap();
        let started = tokio::time::Instant::now();
        assert!(!service.retire(PATIENCE).await);
        assert_eq!(started.elapsed(), PATIENCE * 2);
        assert!(service.is_aborting());
    }
}
