//! Open loops: requests come when they come, answered or not, as from many independent callers.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, ensure};
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
    let (started, cpu_before) = (Instant::now(), cpu::used());
    let mut rng = StdRng::seed_from_u64(arrivals.seed);
    let mut answers = Answers::new()?;
    let mut intended = started + gap(&mut rng, arrivals.per_second);
    while intended < started + arrivals.duration {
        sleep_until(intended).await;
        let since = Instant::now().min(intended + TIMER);
        answers.expect(since, request())?;
        intended += gap(&mut rng, arrivals.per_second);
    }
    let latencies = answers.all().await?;
    Ok(Load {
        latencies,
        elapsed: started.elapsed(),
        cpu: cpu::used().saturating_sub(cpu_before),
    })
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
    tasks: JoinSet<anyhow::Result<Duration>>,
    latencies: Histogram<u64>,
}

impl Answers {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            tasks: JoinSet::new(),
            latencies: Histogram::new(DIGITS)?,
        })
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

    async fn all(mut self) -> anyhow::Result<Histogram<u64>> {
        while let Some(done) = self.tasks.join_next().await {
            self.latencies
                .record(nanos(done.context("a request panicked")??))?;
        }
        ensure!(!self.latencies.is_empty(), "no request was completed");
        Ok(self.latencies)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::{Arrivals, open_loop};

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
    async fn failed_request_fails_the_run() {
        let request = || async { anyhow::bail!("no answer") };
        assert!(open_loop(ARRIVALS, request).await.is_err());
    }
}
