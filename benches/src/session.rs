//! How long to measure, and on which runtime.

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use macula_transport::NodeRuntime;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::load::{Arrivals, Load, closed_loop, open_loop, open_loop_while};
use crate::paired::Pairs;

/// Pairs of a short session: at thirteen the interval of the median is only just over 90 %.
const PAIRS: usize = 13;

/// Pairs of a full session: the first number above thirty of which the same can be said.
const FULL_PAIRS: usize = 31;

/// How long each side of a pair runs.
const SLICE: Duration = Duration::from_millis(250);

/// The same in a full session.
const FULL_SLICE: Duration = Duration::from_secs(1);

/// How long a piece of work may take beside which requests are made.
const LONGEST_WORK: Duration = Duration::from_secs(60);

/// Seed of the times at which the requests of open loops come.
const ARRIVALS_SEED: u64 = 0x0a77;

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

    /// As long a session whose callers, and all that runs in them, share one thread.
    ///
    /// # Errors
    /// When the operating system gives no runtime.
    pub fn on_one_thread(&self) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let full = self.full;
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

    /// Runs a future there beside whatever else is run.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(future)
    }

    /// Runs both sides in turn.
    ///
    /// # Errors
    /// The first error of either side.
    pub fn paired<T>(
        &self,
        ours: impl FnMut() -> anyhow::Result<T>,
        theirs: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<Pairs<T>> {
        Pairs::run(self.pairs(), ours, theirs)
    }

    /// The same with so many times the usual number of pairs: more turns, of sides that run for less.
    ///
    /// # Errors
    /// The first error of either side.
    pub fn paired_often<T>(
        &self,
        times: usize,
        ours: impl FnMut() -> anyhow::Result<T>,
        theirs: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<Pairs<T>> {
        Pairs::run(self.pairs() * times, ours, theirs)
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
        self.traffic(Traffic::closed(in_flight), request)
    }

    /// Makes requests in this manner for as long as one side of a pair runs.
    ///
    /// # Errors
    /// The first request that failed.
    pub fn traffic<F, Fut>(&self, traffic: Traffic, request: F) -> anyhow::Result<Load>
    where
        F: Fn() -> Fut + Clone + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.block_on(self.made(traffic, request))
    }

    /// The same with the callers on a node's own thread: no change of threads is in the figures.
    ///
    /// # Errors
    /// The first request that failed.
    pub fn traffic_on<F, Fut>(
        &self,
        runtime: &NodeRuntime,
        traffic: Traffic,
        request: F,
    ) -> anyhow::Result<Load>
    where
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.block_on(runtime.spawn(self.made(traffic, request)))?
    }

    /// Makes so many requests a second at random times for as long as a piece of work takes.
    ///
    /// # Errors
    /// The first request that failed.
    pub fn traffic_while<T, F, Fut>(
        &self,
        per_second: f64,
        work: impl Future<Output = T>,
        request: F,
    ) -> anyhow::Result<(T, Load)>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let arrivals = Arrivals {
            per_second,
            duration: LONGEST_WORK,
            seed: ARRIVALS_SEED,
        };
        self.block_on(open_loop_while(arrivals, work, request))
    }

    /// Makes requests of two kinds beside each other.
    ///
    /// # Errors
    /// The first request that failed.
    pub fn both<F, Fut, G, Gut>(
        &self,
        (one, request): (Traffic, F),
        (other, beside): (Traffic, G),
    ) -> anyhow::Result<(Load, Load)>
    where
        F: Fn() -> Fut + Clone + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
        G: Fn() -> Gut + Clone + Send + 'static,
        Gut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let one = self.made(one, request);
        let other = self.made(other, beside);
        self.block_on(async { tokio::try_join!(one, other) })
    }

    fn made<F, Fut>(
        &self,
        traffic: Traffic,
        request: F,
    ) -> impl Future<Output = anyhow::Result<Load>> + use<F, Fut>
    where
        F: Fn() -> Fut + Clone + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let slice = if self.full { FULL_SLICE } else { SLICE };
        let duration = slice * traffic.slices;
        async move {
            match traffic.pace {
                Pace::Closed { in_flight } => closed_loop(in_flight, duration, request).await,
                Pace::Open { per_second } => {
                    let arrivals = Arrivals {
                        per_second,
                        duration,
                        seed: ARRIVALS_SEED,
                    };
                    open_loop(arrivals, request).await
                }
            }
        }
    }
}

/// In which manner requests are made, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// What decides when the next one is made.
    pub pace: Pace,
    /// For how many times the usual length of one side of a pair.
    pub slices: u32,
}

/// What decides when the next request is made.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// The answer to an earlier one.
    Closed {
        /// How many are made at first.
        in_flight: usize,
    },
    /// Chance.
    Open {
        /// How many are made in a second, on average.
        per_second: f64,
    },
}

impl Traffic {
    /// So many in flight, for the usual time.
    pub const fn closed(in_flight: usize) -> Self {
        Self {
            pace: Pace::Closed { in_flight },
            slices: 1,
        }
    }

    /// So many times as long.
    pub const fn for_slices(self, slices: u32) -> Self {
        Self { slices, ..self }
    }

    /// So many a second at random times, for the usual time.
    pub const fn open(per_second: f64) -> Self {
        Self {
            pace: Pace::Open { per_second },
            slices: 1,
        }
    }
}
