//! How long to measure, and on which runtime.

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

use crate::load::{Load, closed_loop};
use crate::paired::Pairs;

/// Pairs of a short session: at thirteen the interval of the median is only just over 90 %.
const PAIRS: usize = 13;

/// Pairs of a full session: the first number above thirty of which the same can be said.
const FULL_PAIRS: usize = 31;

/// How long each side of a pair runs.
const SLICE: Duration = Duration::from_millis(250);

/// The same in a full session.
const FULL_SLICE: Duration = Duration::from_secs(1);

/// Worker threads of the callers' runtime.
const WORKERS: usize = 2;

/// One run of the figures: the callers' runtime and how much time there is.
#[derive(Debug)]
pub struct Session {
    runtime: Runtime,
    full: bool,
}

impl Session {
    /// Starts the runtime that callers live on, multi-threaded as a user's would be.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub fn new(full: bool) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        Ok(Self { runtime, full })
    }

    /// Whether there is time for the long measurements.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// How many pairs to run.
    pub fn pairs(&self) -> usize {
        if self.full { FULL_PAIRS } else { PAIRS }
    }

    /// Runs a future on the callers' runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Runs both sides in turn.
    ///
    /// # Errors
    /// The first error of either side.
    pub fn paired(
        &self,
        ours: impl FnMut() -> anyhow::Result<f64>,
        theirs: impl FnMut() -> anyhow::Result<f64>,
    ) -> anyhow::Result<Pairs> {
        Pairs::run(self.pairs(), ours, theirs)
    }

    /// Keeps so many requests in flight for as long as one side of a pair runs.
    ///
    /// # Errors
    /// The first request that failed.
    pub fn load<F, Fut>(&self, in_flight: usize, request: F) -> anyhow::Result<Load>
    where
        F: Fn() -> Fut + Clone + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let slice = if self.full { FULL_SLICE } else { SLICE };
        self.block_on(closed_loop(in_flight, slice, request))
    }
}
