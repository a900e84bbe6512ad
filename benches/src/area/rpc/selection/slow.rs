//! One provider of ten that is much slower than the others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use macula_core::ServiceName;
use macula_rpc::{Call, CallOptions, Codec, RetryBudget, Service};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::area::on_paused_clock;
use crate::fixture::{MeshSettings, ServiceMesh, Strategy};
use crate::load::{Arrivals, exponential, open_loop};
use crate::session::Session;
use crate::statistics::Estimate;

/// Calls at random times to ten providers, each of which works on one call after another for random
/// times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneSlow {
    /// How the caller chooses.
    pub strategy: Strategy,
    /// How many times longer one of them takes.
    pub slowness: u32,
    /// For how many virtual seconds.
    pub seconds: u64,
    /// Decides the times.
    pub seed: u64,
}

impl OneSlow {
    /// Makes the calls; answers within how many milliseconds 99 % of them were answered.
    ///
    /// # Errors
    /// When a call failed.
    pub fn p99_millis(self) -> anyhow::Result<f64> {
        on_paused_clock(self.play())
    }

    async fn play(self) -> anyhow::Result<f64> {
        let mut mesh = ServiceMesh::new(MeshSettings {
            seed: self.seed,
            one_way: ONE_WAY,
            strategy: self.strategy,
            retry_budget: RetryBudget::default(),
        });
        let name: ServiceName = "bench.selection.work".parse()?;
        let mut providers = Vec::new();
        for number in 0..PROVIDERS {
            let mut provider = mesh.node()?;
            let slowness = if number == 0 { self.slowness } else { 1 };
            let service = works(WORK * slowness, self.seed << 16 | number);
            provider.provide(&name, service).await?;
            providers.push(provider);
        }
        let caller = mesh.node()?;
        let arrivals = Arrivals {
            per_second: CALLS_PER_SECOND,
            duration: Duration::from_secs(self.seconds),
            seed: self.seed,
        };
        let load = open_loop(arrivals, || {
            let mut call = Call::new(name.clone(), Codec::Raw, Bytes::new());
            call.options = CallOptions {
                timeout: TIMEOUT,
                ..CallOptions::default()
            };
            let caller = caller.caller().clone();
            async move { caller.call(call).await.map(drop).context("a call failed") }
        });
        let p99_us = load.await?.quantile_us(0.99);
        let called = caller.called();
        ensure!(called.failovers == 0, "{called:?}: patience ended");
        Ok(p99_us / 1e3)
    }
}

/// Works on one call after another, each for a random time.
fn works(mean: Duration, seed: u64) -> Service {
    let worker = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
    Service::new(macula_rpc::raw(move |body: Bytes| {
        let worker = Arc::clone(&worker);
        async move {
            // Those that wait take their turns in the order in which they came.
            let mut rng = worker.lock().await;
            sleep(mean.mul_f64(exponential(&mut rng))).await;
            Ok(body)
        }
    }))
}

/// Median over several seeds.
pub(super) fn over_healthy(session: &Session, strategy: Strategy) -> anyhow::Result<Estimate> {
    let seconds = if session.is_full() { 3_000 } else { 600 };
    let ratios = SEEDS.map(|seed| {
        let ten = |slowness| OneSlow {
            strategy,
            slowness,
            seconds,
            seed,
        };
        Ok(ten(SLOWNESS).p99_millis()? / ten(1).p99_millis()?)
    });
    let ratios = ratios.into_iter().collect::<anyhow::Result<Vec<f64>>>()?;
    Estimate::of_median(&ratios).context("too few simulations")
}

/// As many as an interval of 90 % can be had from.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

const PROVIDERS: u64 = 10;

const SLOWNESS: u32 = 20;

/// How long a healthy provider works on a call, on average.
const WORK: Duration = Duration::from_millis(5);

/// Healthy providers have next to nothing to do, and a slow one that gets its share of the calls is
/// busy for more than four fifths of the time.
const CALLS_PER_SECOND: f64 = 88.0;

const ONE_WAY: Duration = Duration::from_millis(1);

/// Nobody gives up: what is measured is how long calls wait.
const TIMEOUT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::{OneSlow, SLOWNESS, Strategy};

    fn p99_millis(strategy: Strategy, slowness: u32) -> f64 {
        let calls = OneSlow {
            strategy,
            slowness,
            seconds: 40,
            seed: 1,
        };
        calls.p99_millis().unwrap()
    }

    /// What does not hurt who takes turns is no slowness to avoid.
    #[test]
    fn slow_provider_hurts_who_takes_turns_and_not_who_looks() {
        let healthy = p99_millis(Strategy::RoundRobin, 1);
        // Exponential times of five milliseconds, and the way.
        assert!((20.0..40.0).contains(&healthy), "{healthy}");
        let taking_turns = p99_millis(Strategy::RoundRobin, SLOWNESS);
        assert!(taking_turns > 15.0 * healthy, "{taking_turns}");
        let looking = p99_millis(Strategy::LeastLatency, SLOWNESS);
        assert!(looking < 3.0 * healthy, "{looking}");
    }
}
