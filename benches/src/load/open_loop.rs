//! Open loops: requests come when they come, answered or not, as from many independent callers.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{DIGITS, Load, nanos};
use crate::cpu;

/// Requests that may wait for their answers; more mean that the rate cannot be kept.
const MAX_UNANSWERED: usize = 20_000;

/// What tokio's timer may be late by. A request that is later because callers did not get to run
/// has waited since then.
const TIMER: Duration = Duration::from_millis(2);

/// When and how often requests come.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    /// How many in a second, on average; the times between them are exponential.
    pub per_second: f64,
    /// For how long.
    pub duration: Duration,
    /// Decides when exactly.
    pub seed: u64,
}

/// Makes requests at seeded random times, from the current runtime. Each is timed from when it
/// should have been made, so that none is left out for the slowness of others.
///
/// # Errors
/// The first request that failed, or too many without an answer.
///
/// # Cancel safety
/// Dropping the future stops the requests.
pub async fn open_loop<F, Fut>(arrivals: Arrivals, request: F) -> anyhow::Result<Load>
where
    F: Fn() -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut answers = Answers::new()?;
    answers.ask_for(arrivals, request).await?;
    answers.all().await
}

/// The same for as long as a piece of work takes, which has to be done before the arrivals end. No
/// request is made once it is.
///
/// # Errors
/// As [`open_loop`], or when the work takes longer.
///
/// # Cancel safety
/// Dropping the future stops the work and the requests.
pub async fn open_loop_while<T, F, Fut>(
    arrivals: Arrivals,
    work: impl Future<Output = T>,
    request: F,
) -> anyhow::Result<(T, Load)>
where
    F: Fn() -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut answers = Answers::new()?;
    let done = tokio::select! {
        biased;
        done = work => done,
        asked = answers.ask_for(arrivals, request) => {
            asked?;
            bail!("the work takes longer than there are requests");
        }
    };
    Ok((done, answers.all().await?))
}

/// The time to the next of events that happen independently of each other.
fn gap(rng: &mut StdRng, per_second: f64) -> Duration {
    Duration::from_secs_f64(exponential(rng) / per_second)
}

/// Exponentially distributed, one on average.
pub(crate) fn exponential(rng: &mut StdRng) -> f64 {
    let uniform: f64 = rng.random();
    -(1.0 - uniform).ln()
}

/// Requests on their way, and how long those took that are back.
struct Answers {
    started: Instant,
    cpu_before: Duration,
    tasks: JoinSet<anyhow::Result<Duration>>,
    latencies: Histogram<u64>,
}

impl Answers {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            started: Instant::now(),
            cpu_before: cpu::used(),
            tasks: JoinSet::new(),
            latencies: Histogram::new(DIGITS)?,
        })
    }

    async fn ask_for<F, Fut>(&mut self, arrivals: Arrivals, request: F) -> anyhow::Result<()>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let end = self.started + arrivals.duration;
        let mut rng = StdRng::seed_from_u64(arrivals.seed);
        let mut intended = self.started + gap(&mut rng, arrivals.per_second);
        while intended < end {
            sleep_until(intended).await;
            let since = Instant::now().min(intended + TIMER);
            self.expect(since, request())?;
            intended += gap(&mut rng, arrivals.per_second);
        }
        Ok(())
    }

    fn expect<Fut>(&mut self, since: Instant, request: Fut) -> anyhow::Result<()>
    where
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.spawn(async move {
            request.await?;
            Ok(since.elapsed())
        });
        while let Some(done) = self.tasks.try_join_next() {
            self.latencies
                .record(nanos(done.context("a request panicked")??))?;
        }
        ensure!(
            self.tasks.len() <= MAX_UNANSWERED,
            "the answers do not keep up with the requests"
        );
        Ok(())
    }

    async fn all(mut self) -> anyhow::Result<Load> {
        while let Some(done) = self.tasks.join_next().await {
            self.latencies
                .record(nanos(done.context("a request panicked")??))?;
        }
        ensure!(!self.latencies.is_empty(), "no request was completed");
        Ok(Load {
            latencies: self.latencies,
            elapsed: self.started.elapsed(),
            cpu: cpu::used().saturating_sub(self.cpu_before),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::{Arrivals, open_loop, open_loop_while};

    const ARRIVALS: Arrivals = Arrivals {
        per_second: 1000.0,
        duration: Duration::from_secs(4),
        seed: 1,
    };

    #[tokio::test(start_paused = true)]
    async fn requests_come_as_often_as_asked_however_slow_the_answers() {
        let request = || async {
            sleep(Duration::from_secs(1)).await;
            Ok(())
        };
        let load = open_loop(ARRIVALS, request).await.unwrap();
        let count = load.count();
        assert!((3800.0..4200.0).contains(&count), "{count}");
        assert!((load.median_us() - 1e6).abs() < 5e3);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_come_for_as_long_as_the_work_takes_and_no_longer() {
        let work = |seconds| async move {
            sleep(Duration::from_secs(seconds)).await;
            seconds
        };
        let at_once = || async { Ok(()) };
        let run = open_loop_while(ARRIVALS, work(1), at_once).await;
        let (done, load) = run.unwrap();
        let count = load.count();
        assert_eq!(done, 1);
        assert!((900.0..1100.0).contains(&count), "{count}");
        let too_long = open_loop_while(ARRIVALS, work(5), at_once).await;
        assert!(too_long.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failed_request_fails_the_run() {
        let request = || async { anyhow::bail!("no answer") };
        assert!(open_loop(ARRIVALS, request).await.is_err());
    }
}
