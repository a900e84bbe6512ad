//! Closed loops: so many requests in flight, each followed by the next. Open ones: [`open_loop`].

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cpu;

mod open_loop;

pub(crate) use open_loop::exponential;
pub use open_loop::{Arrivals, open_loop, open_loop_while};

/// Significant digits of recorded latencies.
const DIGITS: u8 = 3;

/// The same of a task in a closed loop. With one digit more the counts of 64 tasks do not fit into
/// the caches, and recording takes a tenth of the time of the requests.
const CLOSED_LOOP_DIGITS: u8 = 2;

/// What a loop came to.
#[derive(Debug, Clone)]
pub struct Load {
    latencies: Histogram<u64>,
    elapsed: Duration,
    cpu: Duration,
}

impl Load {
    /// Requests completed per second.
    pub fn rate(&self) -> f64 {
        self.count() / self.elapsed.as_secs_f64()
    }

    /// Median latency of one request, in microseconds.
    pub fn median_us(&self) -> f64 {
        self.quantile_us(0.5)
    }

    /// Latency within which a share of the requests was answered, in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        quantile_us(&self.latencies, share)
    }

    /// The same of all requests of several loops together.
    ///
    /// # Errors
    /// When there is not enough memory for so many different latencies.
    pub(crate) fn pooled_quantile_us<'a>(
        loads: impl Iterator<Item = &'a Self>,
        share: f64,
    ) -> anyhow::Result<f64> {
        let mut pooled = Histogram::new(DIGITS)?;
        for load in loads {
            pooled.add(&load.latencies)?;
        }
        Ok(quantile_us(&pooled, share))
    }

    /// Processor time of the whole process, both ends, per request, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count()
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "requests of one run are far below 2^53"
    )]
    fn count(&self) -> f64 {
        self.latencies.len() as f64
    }
}

/// Keeps `in_flight` requests going for a time, from tasks on the current runtime.
///
/// # Errors
/// The first request that failed: a figure with failures in it would mean nothing.
///
/// # Cancel safety
/// Dropping the future stops the requests.
pub async fn closed_loop<F, Fut>(
    in_flight: usize,
    duration: Duration,
    request: F,
) -> anyhow::Result<Load>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (started, cpu_before) = (Instant::now(), cpu::used());
    let end = started + duration;
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        tasks.spawn(one_after_another(request.clone(), end));
    }
    let mut latencies = Histogram::new(DIGITS)?;
    while let Some(done) = tasks.join_next().await {
        latencies.add(done.context("a request panicked")??)?;
    }
    ensure!(!latencies.is_empty(), "no request was completed");
    Ok(Load {
        latencies,
        elapsed: started.elapsed(),
        cpu: cpu::used().saturating_sub(cpu_before),
    })
}

async fn one_after_another<F, Fut>(request: F, end: Instant) -> anyhow::Result<Histogram<u64>>
where
    F: Fn() -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut latencies = Histogram::new(CLOSED_LOOP_DIGITS)?;
    let mut now = Instant::now();
    while now < end {
        request().await?;
        let answered = Instant::now();
        latencies.record(nanos(answered - now))?;
        now = answered;
    }
    Ok(latencies)
}

fn quantile_us(latencies: &Histogram<u64>, share: f64) -> f64 {
    Duration::from_nanos(latencies.value_at_quantile(share)).as_secs_f64() * 1e6
}

fn nanos(latency: Duration) -> u64 {
    u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::sleep;

    use super::closed_loop;

    #[tokio::test(start_paused = true)]
    async fn rate_and_latency_follow_from_the_requests() {
        let request = || async {
            sleep(Duration::from_millis(10)).await;
            Ok(())
        };
        let load = closed_loop(4, Duration::from_secs(1), request)
            .await
            .unwrap();
        assert!((load.rate() - 400.0).abs() < 4.0, "{}", load.rate());
        assert!((load.median_us() - 10_000.0).abs() < 100.0);
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_in_flight_than_asked() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        let request = move || {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(1)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        };
        closed_loop(7, Duration::from_millis(100), request)
            .await
            .unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_request_fails_the_run() {
        let request = || async { anyhow::bail!("no answer") };
        assert!(
            closed_loop(2, Duration::from_secs(1), request)
                .await
                .is_err()
        );
    }
}
