//! Ten providers in virtual time: who gets how much of the traffic.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use macula_core::{NodeId, SecretKey, ServiceName};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::failover::ejection;
use crate::health::{Condition, Health, ServiceHealth};
use crate::selector::Candidates;
use crate::selector::tests::candidates;
use crate::{BreakerState, Candidate};

const PROVIDERS: u8 = 10;
const USUAL: Duration = Duration::from_millis(5);
const DECAY_PERIOD: Duration = crate::health::DECAY;

/// How the first provider behaves; the others answer in the usual time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Behaviour {
    Usual,
    Slow,
    FailsFast,
    Hangs,
}

/// Calls a thousand times a second, and counts whom they go to.
struct Traffic {
    service: ServiceName,
    health: Arc<ServiceHealth>,
    selector: LeastLatency,
    candidates: Vec<Candidate<'static>>,
    behaviour: Cell<Behaviour>,
    to_first: Cell<u32>,
    failed: Cell<u32>,
    rng: RefCell<StdRng>,
}

impl Traffic {
    fn new(behaviour: Behaviour) -> Rc<Self> {
        let service: ServiceName = "app.f".parse().unwrap();
        Rc::new(Self {
            health: Health::default().of(Instant::now(), &service),
            selector: LeastLatency::new(7),
            candidates: candidates(PROVIDERS),
            behaviour: Cell::new(behaviour),
            to_first: Cell::new(0),
            failed: Cell::new(0),
            rng: RefCell::new(StdRng::seed_from_u64(1)),
            service,
        })
    }

    /// The share of the calls of so many seconds that went to the first provider.
    async fn share(self: &Rc<Self>, seconds: u32) -> f64 {
        self.to_first.set(0);
        let calls = seconds * 1000;
        for _ in 0..calls {
            let pause: f64 = self.rng.borrow_mut().random_range(0.0..0.002);
            sleep(Duration::from_secs_f64(pause)).await;
            tokio::task::spawn_local(Rc::clone(self).call());
        }
        f64::from(self.to_first.get()) / f64::from(calls)
    }

    async fn call(self: Rc<Self>) {
        let now = Instant::now();
        let node_id = self.choose(now);
        let Some(under_way) = self.health.begin(now, node_id, false) else {
            return;
        };
        let is_first = node_id == node(0);
        self.to_first.set(self.to_first.get() + u32::from(is_first));
        let behaviour = match is_first {
            true => self.behaviour.get(),
            false => Behaviour::Usual,
        };
        let jitter = self.rng.borrow_mut().random_range(0.5..1.5);
        let (takes, condition) = match behaviour {
            Behaviour::Usual => (USUAL, Condition::Well),
            Behaviour::Slow => (USUAL * 20, Condition::Well),
            Behaviour::FailsFast => (USUAL / 5, Condition::Ill),
            Behaviour::Hangs => (Duration::from_secs(5), Condition::Ill),
        };
        sleep(takes.mul_f64(jitter)).await;
        self.failed
            .set(self.failed.get() + u32::from(condition == Condition::Ill));
        under_way.ended(Instant::now(), condition);
    }

    fn choose(&self, now: Instant) -> NodeId {
        let mut offered = Candidates::from_slice(&self.candidates);
        self.health.examine(now, &mut offered, false);
        ejection::leave_out(&mut offered, false);
        let selection = Selection::new(&self.service, 1, &offered);
        let chosen = self.selector.select(&selection).unwrap();
        assert_ne!(offered[chosen].health.breaker, BreakerState::Open);
        offered[chosen].provider.node_id()
    }
}

fn node(seed: u8) -> NodeId {
    SecretKey::from_bytes(&[seed; 32]).node_id()
}

/// The share while the first provider behaves so, and again three decay periods later.
async fn shares(behaviour: Behaviour) -> (f64, f64) {
    LocalSet::new()
        .run_until(async {
            let traffic = Traffic::new(behaviour);
            traffic.share(2).await;
            let troubled = traffic.share(20).await;
            traffic.behaviour.set(Behaviour::Usual);
            let periods = u32::try_from(DECAY_PERIOD.as_secs()).unwrap() * 3;
            traffic.share(periods).await;
            (troubled, traffic.share(10).await)
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn providers_that_are_alike_share_the_traffic() {
    let (before, after) = shares(Behaviour::Usual).await;
    assert!((0.08..0.12).contains(&before) && (0.08..0.12).contains(&after));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_twenty_times_slower_gets_little_until_it_recovers() {
    let (slow, recovered) = shares(Behaviour::Slow).await;
    assert!(slow < 0.02, "{slow}");
    assert!(recovered > 0.05, "{recovered}");
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_fast_gets_little_until_it_recovers() {
    let (failing, recovered) = shares(Behaviour::FailsFast).await;
    assert!(failing < 0.05, "{failing}");
    assert!(recovered > 0.05, "{recovered}");
}

#[tokio::test(start_paused = true)]
async fn one_that_has_failed_for_long_recovers_as_soon() {
    LocalSet::new()
        .run_until(async {
            let traffic = Traffic::new(Behaviour::Usual);
            let fails = || {
                let attempt = traffic.health.begin(Instant::now(), node(0), false);
                attempt.map(|it| it.ended(Instant::now(), Condition::Ill))
            };
            for _ in 0..600 {
                let _ = fails();
                sleep(Duration::from_secs(1)).await;
            }
            while fails().is_none() {
                sleep(Duration::from_millis(100)).await;
            }
            // Its longest pause has just begun.
            traffic.share(30).await;
            let recovered = traffic.share(10).await;
            assert!(recovered > 0.05, "{recovered}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_loses_traffic_before_its_first_timeout() {
    LocalSet::new()
        .run_until(async {
            let traffic = Traffic::new(Behaviour::Usual);
            traffic.share(2).await;
            traffic.behaviour.set(Behaviour::Hangs);
            // Well before the first request can fail.
            traffic.share(1).await;
            let share = traffic.share(1).await;
            assert!(share < 0.02, "{share}");
            assert_eq!(traffic.failed.get(), 0, "nothing has timed out yet");
        })
        .await;
}
