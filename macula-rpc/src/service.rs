//! What is registered under a name: a handler, how and for whom it runs, and how it ends.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::{DEFAULT_MAX_RUNNING_PER_SERVICE, MAX_PERMITS};
use crate::message::Status;
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
    /// In a task of its own, on the runtime that was given for handlers.
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
    max_running: u32,
    /// One permit per running handler, returned when its future is dropped.
    permits: Arc<Semaphore>,
    retired: AtomicBool,
    abort: watch::Sender<bool>,
}

impl Service {
    /// A service with the default options.
    pub fn new(handler: Arc<dyn Handler>) -> Self {
        Self::with_options(handler, ServiceOptions::default())
    }

    /// A service with these options.
    pub fn with_options(handler: Arc<dyn Handler>, options: ServiceOptions) -> Self {
        let max_running = options.max_running.get().min(MAX_PERMITS);
        Self(Arc::new(Shared {
            handler,
            runs: options.runs,
            access: options.access,
            permits: Arc::new(Semaphore::new(max_running)),
            max_running: u32::try_from(max_running).unwrap_or(u32::MAX),
            retired: AtomicBool::new(false),
            abort: watch::Sender::new(false),
        }))
    }

    /// How many of its handlers run now.
    pub fn running(&self) -> usize {
        (self.0.max_running as usize).saturating_sub(self.0.permits.available_permits())
    }

    /// Admits no further call, waits for the running ones, and aborts those that still run after
    /// `patience`. Says whether all have ended: one that blocks its thread cannot be aborted and
    /// is waited for no longer than `patience` once more.
    ///
    /// # Cancel safety
    /// The service stays retired; running handlers go on.
    pub async fn retire(&self, patience: Duration) -> bool {
        self.0.retired.store(true, Ordering::SeqCst);
        if self.ended_within(patience).await {
            return true;
        }
        self.0.abort.send_replace(true);
        self.ended_within(patience).await
    }

    async fn ended_within(&self, patience: Duration) -> bool {
        let all = self.0.permits.acquire_many(self.0.max_running);
        tokio::time::timeout(patience, all).await.is_ok()
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

    /// A permit to run the handler once.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Status> {
        let permit = self.0.permits.clone().try_acquire_owned();
        // Looked at after the permit is taken: either this sees the retirement, or the retirement
        // waits for this permit.
        if self.0.retired.load(Ordering::SeqCst) {
            return Err(Status::NotServed);
        }
        permit.map_err(|_| Status::Overloaded)
    }

    /// Waits until running handlers are to be aborted.
    pub(crate) async fn aborted(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.abort.subscribe().wait_for(|abort| *abort).await;
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("running", &self.running())
            .field("max_running", &self.0.max_running)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn a_full_service_admits_again_when_a_permit_returns() {
        let service = service(1);
        let permit = service.admit().unwrap();
        assert_eq!(service.admit().unwrap_err(), Status::Overloaded);
        drop(permit);
        assert!(service.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_retired_service_admits_nothing_for_good() {
        let service = service(2);
        assert!(service.retire(PATIENCE).await);
        assert_eq!(service.admit().unwrap_err(), Status::NotServed);
        assert!(service.retire(PATIENCE).await, "twice is harmless");
        assert_eq!(service.admit().unwrap_err(), Status::NotServed);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_aborted_is_waited_for_no_longer_than_twice() {
        let service = service(2);
        let _stuck = service.admit().unwrap();
        let started = tokio::time::Instant::now();
        assert!(!service.retire(PATIENCE).await);
        assert_eq!(started.elapsed(), PATIENCE * 2);
        service.aborted().await;
    }
}
