//! Withdraws what was published: at once, then a few times more, one task for all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use macula_core::{RecordError, Withdrawal};
use macula_dht::message::MAX_CLAIMS;
use macula_dht::{DhtError, Withdrawn};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::Publication;
use super::agenda::Position;
use super::means::{Means, count};
use super::rounds::{self, Rounds};
use super::withdrawals::{Batch, Outcome, Withdrawals};
use crate::UnadvertiseError;

/// The end of the first attempt to withdraw.
pub(crate) struct FirstAttempt(Result<Option<Waiting>, RecordError>);

struct Waiting {
    /// Dropped unsent when the attempt has ended.
    ended: oneshot::Receiver<()>,
    limit: Duration,
}

impl FirstAttempt {
    /// Waits for it, within its timeout; whether it succeeded is no concern of those who wait.
    pub(crate) async fn ended(self) -> Result<(), UnadvertiseError> {
        if let Some(Waiting { ended, limit }) = self.0? {
            let _ = timeout(limit, ended).await;
        }
        Ok(())
    }
}

/// What is being withdrawn, and the task that does it.
pub(super) struct Withdrawer {
    means: Arc<Means>,
    runtime: Handle,
    withdrawals: Mutex<Withdrawals<Claim>>,
    /// How many first attempts have not ended.
    first_attempts: watch::Sender<usize>,
    wake: Arc<Notify>,
}

/// What is withdrawn, and who waits for the first attempt to end.
pub(super) struct Claim {
    withdrawal: Withdrawal,
    waiting: Option<oneshot::Sender<()>>,
}

impl Withdrawer {
    /// Starts the task; it ends with the withdrawer.
    pub(super) fn start(means: &Arc<Means>, runtime: &Handle) -> Arc<Self> {
        let config = &means.config;
        let retry = (config.retry_first, config.retry_max);
        let max_pending = config.max_services.get().saturating_mul(2);
        let withdrawals = Withdrawals::new(retry, MAX_WITHDRAWING, max_pending);
        let withdrawer = Arc::new(Self {
            means: Arc::clone(means),
            runtime: runtime.clone(),
            withdrawals: Mutex::new(withdrawals),
            first_attempts: watch::Sender::new(0),
            wake: Arc::new(Notify::new()),
        });
        let wake = Arc::clone(&withdrawer.wake);
        runtime.spawn(rounds::run(Arc::downgrade(&withdrawer), wake));
        withdrawer
    }

    /// Starts to withdraw everything that a closed publication has signed.
    pub(super) fn withdraw(&self, publication: &Publication) -> FirstAttempt {
        let withdrawal = match publication.withdrawal(&self.means.identity) {
            None => return FirstAttempt(Ok(None)),
            Some(Err(error)) => return FirstAttempt(Err(error)),
            Some(Ok(withdrawal)) => withdrawal,
        };
        let (sender, ended) = oneshot::channel();
        let claim = Claim {
            withdrawal,
            waiting: Some(sender),
        };
        self.add(vec![(self.means.position(publication), claim)]);
        let limit = self.means.config.withdraw_timeout;
        FirstAttempt(Ok(Some(Waiting { ended, limit })))
    }

    /// Withdraws everything that these closed publications have signed, and waits for that and for
    /// what is being withdrawn already, within one timeout; then the rest is given up.
    pub(super) async fn drain(&self, publications: &[Arc<Publication>]) {
        self.change(Withdrawals::drain);
        let limit = self.means.config.withdraw_timeout;
        // That time is over is told by what is left.
        let _ = timeout(limit, self.withdraw_each(publications)).await;
        let left = self.change(Withdrawals::clear);
        if left > 0 {
            self.give_up(left, DhtError::Unreachable);
        }
    }

    async fn withdraw_each(&self, publications: &[Arc<Publication>]) {
        let mut neighbours: Vec<_> = publications.iter().collect();
        neighbours.sort_by_cached_key(|publication| self.means.position(publication));
        for batch in neighbours.chunks(MAX_CLAIMS) {
            let claims = batch.iter().filter_map(|publication| {
                // One that cannot be signed is left to expire.
                let withdrawal = publication.withdrawal(&self.means.identity)?.ok()?;
                let waiting = None;
                let claim = Claim {
                    withdrawal,
                    waiting,
                };
                Some((self.means.position(publication), claim))
            });
            self.add(claims.collect());
            // Signing thousands takes a while: the first are on their way meanwhile.
            tokio::task::yield_now().await;
        }
        let mut first_attempts = self.first_attempts.subscribe();
        // The sender is `self`, so there is no error to see.
        let _ = first_attempts.wait_for(|count| *count == 0).await;
    }

    /// Adds these in one step, so that neighbours are sent together.
    fn add(&self, claims: Vec<(Position, Claim)>) {
        let now = self.now();
        let count = claims.len();
        let added = self.change(|all| {
            let added = claims
                .into_iter()
                .map(|(position, claim)| all.add(now, position, claim));
            added.filter(|has_room| *has_room).count()
        });
        if added < count {
            self.give_up(count - added, DhtError::Overloaded);
        }
        self.wake.notify_one();
    }

    /// How many are to be sent, or tried again.
    pub(super) fn pending(&self) -> usize {
        self.withdrawals().len()
    }

    /// Handles are dropped anywhere; the task's clock counts.
    fn now(&self) -> Instant {
        let _entered = self.runtime.enter();
        Instant::now()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Withdrawals<Claim>) -> T) -> T {
        let mut withdrawals = self.withdrawals();
        let answer = change(&mut withdrawals);
        self.first_attempts
            .send_replace(withdrawals.first_attempts());
        answer
    }

    fn withdrawals(&self) -> MutexGuard<'_, Withdrawals<Claim>> {
        self.withdrawals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, services: usize, cause: DhtError) {
        count(&self.means.counters.withdrawals_given_up, services);
        warn!(services, %cause, "withdrawal given up, the records will expire");
    }
}

impl Drop for Withdrawer {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl Rounds for Withdrawer {
    type Batch = Batch<Claim>;
    type Outcome = Vec<Result<(), DhtError>>;

    fn next_due(&self) -> Option<Instant> {
        self.withdrawals().next_due()
    }

    fn next_batch(&self, now: Instant) -> Option<Self::Batch> {
        self.withdrawals().next_batch(now)
    }

    fn carry_out(
        &self,
        batch: &Self::Batch,
    ) -> impl Future<Output = Self::Outcome> + Send + 'static {
        let members = batch.members.iter();
        let withdrawals = members.map(|(_, pending)| pending.withdrawal.withdrawal.clone());
        let withdrawals: Vec<_> = withdrawals.collect();
        let means = Arc::clone(&self.means);
        async move { means.withdraw(withdrawals).await }
    }

    fn ended(&self, now: Instant, mut batch: Self::Batch, outcome: Option<Self::Outcome>) {
        let services = batch.members.len();
        let members = batch.members.iter_mut();
        let waiting: Vec<_> = members
            .filter_map(|(_, pending)| pending.withdrawal.waiting.take())
            .collect();
        let results = outcome.unwrap_or_else(|| vec![Err(DhtError::Unreachable); services]);
        let outcomes = results.iter().map(|result| match result {
            Ok(()) => Outcome::Done,
            Err(DhtError::Closed) => Outcome::Over,
            Err(_) => Outcome::Failed,
        });
        let settled = self.change(|all| all.ended(now, batch, outcomes));
        count(&self.means.counters.withdrawn, settled.done);
        if settled.done > 0 {
            info!(services = settled.done, "withdrawn");
        }
        let failed: Vec<_> = results.iter().filter_map(|result| result.err()).collect();
        let services = failed.len() - settled.given_up;
        match failed.first() {
            Some(cause) if settled.given_up > 0 => self.give_up(settled.given_up, *cause),
            Some(cause) if waiting.is_empty() => debug!(services, %cause, "still not withdrawn"),
            Some(cause) => warn!(services, %cause, "not withdrawn yet"),
            None => {}
        }
        // Those who wait find counted what they waited for.
        drop(waiting);
    }
}

impl Means {
    /// Tries to withdraw once; answers what became of each.
    async fn withdraw(&self, withdrawals: Vec<Withdrawal>) -> Vec<Result<(), DhtError>> {
        count(&self.counters.withdrawal_batches, 1);
        let services = withdrawals.len();
        let attempt = self.dht.withdraw(withdrawals);
        let attempt = timeout(self.config.withdraw_timeout, attempt).await;
        match attempt.unwrap_or(Err(DhtError::Unreachable)) {
            Ok(report) => {
                let told = report.withdrawals.iter().map(Withdrawn::is_told);
                let told = told.chain(std::iter::repeat(false)).take(services);
                told.map(|is_told| is_told.then_some(()).ok_or(DhtError::Unreachable))
                    .collect()
            }
            Err(error) => vec![Err(error); services],
        }
    }
}

/// The most batches being withdrawn at once. They go straight to the holders, so that a node with
/// thousands of services is drained in time.
const MAX_WITHDRAWING: usize = 32;
