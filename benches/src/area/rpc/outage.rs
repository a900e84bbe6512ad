//! How many attempts are made while nobody answers: simulations in virtual time, of real callers
//! and servers over the in-memory network.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use macula_core::ServiceName;
use macula_rpc::{Call, Caller, Codec, HandlerError, RetryBudget, Service};
use tokio::time::{Instant, sleep};

use crate::area::{measured_once, on_paused_clock};
use crate::figure::Unit;
use crate::fixture::{MeshSettings, ServiceMesh, ServiceNode, Strategy};
use crate::load::{Arrivals, open_loop};
use crate::measurement::{Clock, Measurement};
use crate::statistics::{Estimate, Goal};

pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "total outage, three providers Overloaded: attempts less the floor, over calls",
        unit: Unit::Ratio,
        goal: Goal::AtMost(MOST_ATTEMPTS),
        clock: Clock::Virtual,
        run: |_| attempts_of(|outages| &outages.of_one, 0),
    },
    Measurement {
        name: "the same without a retry budget, which has to be more",
        unit: Unit::Ratio,
        goal: Goal::AtLeast(2.0),
        clock: Clock::Virtual,
        run: |_| attempts_of(|outages| &outages.of_one_unbounded, 0),
    },
    Measurement {
        name: "total outage, three services deep, the last silent: attempts less floor, over calls, tier 1",
        unit: Unit::Ratio,
        goal: Goal::AtMost(MOST_ATTEMPTS),
        clock: Clock::Virtual,
        run: |_| attempts_of(|outages| &outages.of_three, 0),
    },
    Measurement {
        name: "total outage, three services deep, the last silent: attempts less floor, over calls, tier 2",
        unit: Unit::Ratio,
        goal: Goal::AtMost(MOST_ATTEMPTS),
        clock: Clock::Virtual,
        run: |_| attempts_of(|outages| &outages.of_three, 1),
    },
    Measurement {
        name: "total outage, three services deep, the last silent: attempts less floor, over calls, tier 3",
        unit: Unit::Ratio,
        goal: Goal::AtMost(MOST_ATTEMPTS),
        clock: Clock::Virtual,
        run: |_| attempts_of(|outages| &outages.of_three, 2),
    },
    Measurement {
        name: "the same: attempts at the last tier, over calls of the first",
        unit: Unit::Ratio,
        goal: Goal::None,
        clock: Clock::Virtual,
        run: |_| amplification(|outages| &outages.of_three),
    },
    Measurement {
        name: "the same without retry budgets, which has to be more",
        unit: Unit::Ratio,
        goal: Goal::AtLeast(2.0),
        clock: Clock::Virtual,
        run: |_| amplification(|outages| &outages.of_three_unbounded),
    },
];

/// What a retry budget of a fifth of the calls allows beyond its floor.
const MOST_ATTEMPTS: f64 = 1.2;

/// Calls at random times to services none of which gets an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outage {
    /// How many services call each other, one below the other. Each has three providers.
    pub tiers: u16,
    /// What becomes of calls to the last of them.
    pub last: Last,
    /// How often each node may try again.
    pub retry_budget: RetryBudget,
    /// How often the first one is called.
    pub per_second: f64,
    /// For how many virtual seconds.
    pub seconds: u64,
    /// Decides the times.
    pub seed: u64,
}

/// What becomes of the calls that reach the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// They are turned away at once.
    Overloaded,
    /// Nothing.
    Silent,
}

/// What all callers of one service counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tier {
    /// How many of them there are: each has a budget of its own.
    pub callers: u32,
    /// Calls that they made.
    pub calls: u64,
    /// Attempts that they made.
    pub attempts: u64,
    /// Attempts that reached a server of the service.
    pub reached: u64,
    /// From the first call until the last one had ended.
    pub elapsed: Duration,
}

impl Tier {
    /// How many attempts a call took, but for those that the budgets allow whatever the calls.
    ///
    /// # Errors
    /// When there was no call.
    pub fn attempts_per_call(&self) -> anyhow::Result<f64> {
        ensure!(self.calls > 0, "nothing was called");
        let RetryBudget { per_second, .. } = RetryBudget::default();
        let seconds = (RetryBudget::WINDOW + self.elapsed).as_secs_f64();
        let floor = f64::from(self.callers) * f64::from(per_second) * seconds;
        Ok((self.attempts as f64 - floor) / self.calls as f64)
    }
}

impl Outage {
    /// Makes the calls; answers what was counted at each tier, the first one first.
    ///
    /// # Errors
    /// When there is no mesh, or a call gets an answer.
    pub fn play(self) -> anyhow::Result<Vec<Tier>> {
        on_paused_clock(self.count())
    }

    async fn count(self) -> anyhow::Result<Vec<Tier>> {
        let mut mesh = ServiceMesh::new(MeshSettings {
            seed: self.seed,
            one_way: Duration::from_millis(1),
            strategy: Strategy::LeastLatency,
            retry_budget: self.retry_budget,
        });
        let mut tiers = vec![vec![mesh.node()?]];
        for tier in 1..=self.tiers {
            tiers.push(self.staff(&mut mesh, tier).await?);
        }
        let front = tiers[0][0].caller().clone();
        let started = Instant::now();
        let arrivals = Arrivals {
            per_second: self.per_second,
            duration: Duration::from_secs(self.seconds),
            seed: self.seed,
        };
        let first = name(1)?;
        open_loop(arrivals, || {
            let (front, call) = (front.clone(), call(&first, Bytes::new()));
            async move {
                ensure!(front.call(call).await.is_err(), "this is no outage");
                Ok(())
            }
        })
        .await?;
        let elapsed = started.elapsed();
        // What was under way when its caller gave up comes to its end.
        sleep(SETTLE).await;
        let pairs = tiers.windows(2);
        let counted = pairs.map(|pair| Tier::of(&pair[0], &pair[1], elapsed));
        Ok(counted.collect())
    }

    /// The three providers of a tier.
    async fn staff(self, mesh: &mut ServiceMesh, tier: u16) -> anyhow::Result<Vec<ServiceNode>> {
        let name = name(tier)?;
        let mut nodes = Vec::new();
        for _ in 0..PROVIDERS {
            let mut node = mesh.node()?;
            if tier < self.tiers {
                let relay = relays(node.caller().clone(), self::name(tier + 1)?);
                node.provide(&name, relay).await?;
            } else {
                match self.last {
                    Last::Overloaded => node.provide_full(&name).await?,
                    Last::Silent => node.provide(&name, says_nothing()).await?,
                }
            }
            nodes.push(node);
        }
        Ok(nodes)
    }
}

impl Tier {
    fn of(callers: &[ServiceNode], servers: &[ServiceNode], elapsed: Duration) -> Self {
        let callers = || callers.iter().map(ServiceNode::called);
        Self {
            callers: u32::try_from(callers().len()).unwrap_or(u32::MAX),
            calls: callers().map(|stats| stats.calls).sum(),
            attempts: callers().map(|stats| stats.attempts).sum(),
            reached: servers.iter().map(ServiceNode::reached).sum(),
            elapsed,
        }
    }
}

/// Calls the next service and hands on what comes of it.
fn relays(caller: Caller, next: ServiceName) -> Service {
    Service::new(macula_rpc::raw(move |body: Bytes| {
        let (caller, call) = (caller.clone(), call(&next, body));
        async move { Ok(caller.call(call).await?.body) }
    }))
}

fn says_nothing() -> Service {
    Service::new(macula_rpc::raw(|_: Bytes| {
        std::future::pending::<Result<Bytes, HandlerError>>()
    }))
}

fn call(name: &ServiceName, body: Bytes) -> Call {
    Call::new(name.clone(), Codec::Raw, body)
}

fn name(tier: u16) -> anyhow::Result<ServiceName> {
    Ok(format!("bench.outage.tier{tier}").parse()?)
}

/// What was counted in each simulation, with several seeds.
struct Outages {
    of_one: Vec<Vec<Tier>>,
    of_one_unbounded: Vec<Vec<Tier>>,
    of_three: Vec<Vec<Tier>>,
    of_three_unbounded: Vec<Vec<Tier>>,
}

type OfOutage = fn(&Outages) -> &Vec<Vec<Tier>>;

/// The most attempts per call of a tier with any seed.
fn attempts_of(outage: OfOutage, tier: usize) -> anyhow::Result<Estimate> {
    most(outage, |tiers| tiers[tier].attempts_per_call())
}

/// How many attempts at the last tier one call comes to, at most with any seed.
fn amplification(outage: OfOutage) -> anyhow::Result<Estimate> {
    most(outage, |tiers| {
        let (first, last) = (tiers.first(), tiers.last());
        let (first, last) = first.zip(last).context("no tiers")?;
        Ok(last.attempts as f64 / first.calls as f64)
    })
}

fn most(
    outage: OfOutage,
    figure: impl Fn(&[Tier]) -> anyhow::Result<f64>,
) -> anyhow::Result<Estimate> {
    let of_seeds = outage(outages()?).iter().map(|tiers| figure(tiers));
    let of_seeds = of_seeds.collect::<anyhow::Result<Vec<f64>>>()?;
    let most = of_seeds.into_iter().reduce(f64::max);
    most.map(Estimate::exact).context("no seeds")
}

fn outages() -> anyhow::Result<&'static Outages> {
    static OUTAGES: OnceLock<Outages> = OnceLock::new();
    measured_once(&OUTAGES, || {
        let of_seeds = |outage: Outage| {
            let seeds = SEEDS.map(|seed| Outage { seed, ..outage }.play());
            seeds.into_iter().collect::<anyhow::Result<Vec<_>>>()
        };
        Ok(Outages {
            of_one: of_seeds(OF_ONE)?,
            of_one_unbounded: of_seeds(OF_ONE.unbounded())?,
            of_three: of_seeds(OF_THREE)?,
            of_three_unbounded: of_seeds(OF_THREE.unbounded())?,
        })
    })
}

impl Outage {
    /// The same, for a short while, of callers that try again whenever they can.
    const fn unbounded(self) -> Self {
        Self {
            retry_budget: RetryBudget {
                percent: u32::MAX,
                per_second: u32::MAX,
            },
            seconds: 10,
            ..self
        }
    }
}

const OF_ONE: Outage = Outage {
    tiers: 1,
    last: Last::Overloaded,
    retry_budget: RetryBudget {
        percent: 20,
        per_second: 10,
    },
    per_second: 500.0,
    seconds: 60,
    seed: 1,
};

const OF_THREE: Outage = Outage {
    tiers: 3,
    last: Last::Silent,
    per_second: 100.0,
    seconds: 30,
    ..OF_ONE
};

const SEEDS: [u64; 3] = [1, 2, 3];

const PROVIDERS: usize = 3;

/// Longer than anything is on its way.
const SETTLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use macula_rpc::RetryBudget;

    use super::{MOST_ATTEMPTS, OF_ONE, OF_THREE, Outage};

    #[test]
    fn budget_is_the_one_that_callers_have_by_themselves() {
        assert_eq!(OF_ONE.retry_budget, RetryBudget::default());
        assert_eq!(OF_THREE.retry_budget, RetryBudget::default());
    }

    #[test]
    fn budget_bounds_what_is_three_times_as_much_without() {
        let outage = Outage {
            seconds: 10,
            ..OF_ONE
        };
        let bounded = outage.play().unwrap()[0];
        assert_eq!(bounded.attempts, bounded.reached);
        assert!(bounded.attempts_per_call().unwrap() <= MOST_ATTEMPTS);
        let unbounded = outage.unbounded().play().unwrap()[0];
        assert_eq!(unbounded.attempts, unbounded.reached);
        assert_eq!(unbounded.attempts, 3 * unbounded.calls);
        assert_eq!(unbounded.calls, bounded.calls);
    }

    #[test]
    fn tiers_above_an_outage_add_nothing_to_it_even_without_budgets() {
        let outage = Outage {
            per_second: 20.0,
            ..OF_THREE.unbounded()
        };
        let tiers = outage.play().unwrap();
        for (above, below) in tiers.iter().zip(&tiers[1..]) {
            assert_eq!(above.reached, below.calls, "each attempt is a call below");
            assert_eq!(above.attempts, above.calls, "an answer is final");
        }
        let last = tiers.last().unwrap();
        assert_eq!(last.attempts, 3 * last.calls);
    }
}
