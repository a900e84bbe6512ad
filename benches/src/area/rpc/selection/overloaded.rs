//! One provider of several that turns every call away, and is quicker at that than others at work.

use std::num::NonZeroU8;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use macula_core::{NodeId, ServiceName};
use macula_rpc::{
    Attempt, Call, CallError, CallOptions, Caller, Codec, Reply, RetryBudget, Service,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use crate::area::{measured_once, on_paused_clock};
use crate::fixture::{MeshSettings, ServiceMesh, ServiceNode, Strategy};
use crate::load::{Arrivals, exponential, open_loop};
use crate::session::Session;
use crate::statistics::Estimate;

/// Calls at random times to five providers, one of which has no room for any.
///
/// There is no network to be slower than: it answers in no time at all, others after some work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneOverloaded {
    /// Whether it really has no room, or is like the others.
    pub is_overloaded: bool,
    /// How many providers a call tries; as many as callers do by themselves when there is none.
    pub max_attempts: Option<NonZeroU8>,
    /// For how many virtual seconds.
    pub seconds: u64,
    /// Decides the times.
    pub seed: u64,
}

/// What was counted of the calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// All of them.
    pub calls: u64,
    /// Those with a result.
    pub succeeded: u64,
    /// Those whose first attempt went to the one.
    pub begun_at_it: u64,
}

impl OneOverloaded {
    /// Makes the calls.
    ///
    /// # Errors
    /// When there is no mesh, or the calls do not come to an end.
    pub fn play(self) -> anyhow::Result<Counted> {
        on_paused_clock(self.count())
    }

    async fn count(self) -> anyhow::Result<Counted> {
        let mut mesh = ServiceMesh::new(MeshSettings {
            seed: self.seed,
            one_way: Duration::ZERO,
            strategy: Strategy::LeastLatency,
            retry_budget: RetryBudget::default(),
        });
        let name: ServiceName = "bench.selection.room".parse()?;
        let (the_one, _others) = self.staff(&mut mesh, &name).await?;
        let caller = mesh.node()?;
        let arrivals = Arrivals {
            per_second: CALLS_PER_SECOND,
            duration: Duration::from_secs(self.seconds),
            seed: self.seed,
        };
        let tally = Arc::new(Tally {
            the_one: the_one.node_id(),
            counted: Mutex::default(),
        });
        open_loop(arrivals, || {
            let call = self.call(&name);
            make(caller.caller().clone(), call, Arc::clone(&tally))
        })
        .await?;
        let counted = *tally.lock();
        ensure!(counted.begun_at_it > 0, "it was never asked");
        Ok(counted)
    }

    /// The one in question, and the others.
    async fn staff(
        self,
        mesh: &mut ServiceMesh,
        name: &ServiceName,
    ) -> anyhow::Result<(ServiceNode, Vec<ServiceNode>)> {
        let mut providers = Vec::new();
        for number in 0..PROVIDERS {
            let mut provider = mesh.node()?;
            if number == 0 && self.is_overloaded {
                provider.provide_full(name).await?;
            } else {
                let service = works(self.seed << 16 | number);
                provider.provide(name, service).await?;
            }
            providers.push(provider);
        }
        let the_one = providers.remove(0);
        Ok((the_one, providers))
    }

    fn call(self, name: &ServiceName) -> Call {
        let mut call = Call::new(name.clone(), Codec::Raw, Bytes::new());
        call.options = CallOptions {
            max_attempts: self.max_attempts,
            ..CallOptions::default()
        };
        call
    }
}

/// Works on any number of calls at once, each for a random time.
fn works(seed: u64) -> Service {
    let rng = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
    Service::new(macula_rpc::raw(move |body: Bytes| {
        let times = exponential(&mut rng.lock().unwrap_or_else(PoisonError::into_inner));
        async move {
            sleep(WORK.mul_f64(times)).await;
            Ok(body)
        }
    }))
}

async fn make(caller: Caller, call: Call, tally: Arc<Tally>) -> anyhow::Result<()> {
    tally.note(&caller.call(call).await);
    Ok(())
}

struct Tally {
    the_one: NodeId,
    counted: Mutex<Counted>,
}

impl Tally {
    fn note(&self, outcome: &Result<Reply, CallError>) {
        let attempts: &[Attempt] = match outcome {
            Ok(reply) => &reply.attempts,
            Err(error) => error.attempts(),
        };
        let begun_at = attempts.first().map(|attempt| attempt.provider);
        let mut counted = self.lock();
        counted.calls += 1;
        counted.succeeded += u64::from(outcome.is_ok());
        counted.begun_at_it += u64::from(begun_at == Some(self.the_one));
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn share_of_first_attempts(session: &Session) -> anyhow::Result<Estimate> {
    let counted = counted(session)?;
    Estimate::of_share(counted.begun_at_it, counted.calls).context("no call was counted")
}

pub(super) fn share_of_successes(session: &Session) -> anyhow::Result<Estimate> {
    let counted = counted(session)?;
    Estimate::of_share(counted.succeeded, counted.calls).context("no call was counted")
}

/// With several seeds together; measured once.
fn counted(session: &Session) -> anyhow::Result<&'static Counted> {
    static COUNTED: OnceLock<Counted> = OnceLock::new();
    let seconds = if session.is_full() { 300 } else { 40 };
    measured_once(&COUNTED, || {
        let mut all = Counted::default();
        for seed in SEEDS {
            let calls = OneOverloaded {
                is_overloaded: true,
                max_attempts: None,
                seconds,
                seed,
            };
            let counted = calls.play()?;
            all.calls += counted.calls;
            all.succeeded += counted.succeeded;
            all.begun_at_it += counted.begun_at_it;
        }
        Ok(all)
    })
}

const SEEDS: [u64; 3] = [1, 2, 3];

const PROVIDERS: u64 = 5;

/// How long the others work on a call, on average.
const WORK: Duration = Duration::from_millis(20);

const CALLS_PER_SECOND: f64 = 500.0;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::{Counted, OneOverloaded};

    const CALLS: OneOverloaded = OneOverloaded {
        is_overloaded: true,
        max_attempts: None,
        seconds: 10,
        seed: 1,
    };

    #[test]
    fn one_that_has_room_gets_its_share() {
        let with_room = OneOverloaded {
            is_overloaded: false,
            ..CALLS
        };
        let Counted {
            calls,
            succeeded,
            begun_at_it,
        } = with_room.play().unwrap();
        assert_eq!(succeeded, calls);
        assert!(
            (calls / 7..calls / 3).contains(&begun_at_it),
            "{begun_at_it}"
        );
    }

    #[test]
    fn what_it_turns_away_fails_unless_it_is_tried_elsewhere() {
        let once = OneOverloaded {
            max_attempts: Some(NonZeroU8::MIN),
            ..CALLS
        };
        let counted = once.play().unwrap();
        assert_eq!(counted.succeeded + counted.begun_at_it, counted.calls);
        let counted = CALLS.play().unwrap();
        assert_eq!(counted.succeeded, counted.calls);
        assert!(counted.begun_at_it * 20 < counted.calls, "{counted:?}");
    }
}
