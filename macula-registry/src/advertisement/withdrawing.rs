//! Withdraws what was published: once in the foreground, then a few times in the background.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use macula_core::{RecordError, Withdrawal};
use macula_dht::DhtError;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::schedule::back_off;
use super::{Publication, Publisher};
use crate::UnadvertiseError;

/// The end of the first attempt to withdraw.
pub(crate) struct FirstAttempt(Result<Option<oneshot::Receiver<()>>, RecordError>);

impl FirstAttempt {
    /// Waits for it; whether it succeeded is no concern of those who wait.
    pub(crate) async fn ended(self) -> Result<(), UnadvertiseError> {
        if let Some(ended) = self.0? {
            // Dropped unsent when the runtime is gone: then there is nothing to wait for.
            let _ = ended.await;
        }
        Ok(())
    }
}

impl Publisher {
    /// Starts to withdraw everything that a closed publication has signed.
    pub(crate) fn withdraw(self: &Arc<Self>, publication: &Arc<Publication>) -> FirstAttempt {
        let withdrawal = match publication.withdrawal(&self.identity) {
            None => return FirstAttempt(Ok(None)),
            Some(Err(error)) => return FirstAttempt(Err(error)),
            Some(Ok(withdrawal)) => withdrawal,
        };
        let (ended, first_attempt) = oneshot::channel();
        let under_way = UnderWay::new(self);
        let publication = Arc::clone(publication);
        self.runtime.spawn(async move {
            let publisher = Arc::clone(&under_way.0);
            let outcome = publisher.withdraw_once(vec![withdrawal.clone()]).await;
            drop(under_way);
            // Nobody waits when the handle was dropped.
            let _ = ended.send(());
            let service = publication.name();
            match outcome {
                Ok(()) => info!(%service, "withdrawn"),
                Err(cause) => {
                    warn!(%service, %cause, "not withdrawn yet");
                    publisher.retry(&publication, withdrawal, cause).await;
                }
            }
        });
        FirstAttempt(Ok(Some(first_attempt)))
    }

    /// Withdraws everything that these closed publications have signed, many at a time and all
    /// within one timeout, and waits for those that are being withdrawn already. What fails is not
    /// retried: the records expire by themselves.
    pub(crate) async fn withdraw_all(self: &Arc<Self>, publications: &[Arc<Publication>]) {
        // Every attempt ends by itself. This one is for a runtime that no longer runs.
        let limit = self.config.withdraw_timeout.saturating_add(OVERTIME);
        let _ = timeout(limit, self.withdraw_each(publications)).await;
    }

    async fn withdraw_each(self: &Arc<Self>, publications: &[Arc<Publication>]) {
        let mut batches = JoinSet::new();
        for batch in publications.chunks(WITHDRAWALS_PER_BATCH) {
            let publisher = Arc::clone(self);
            let batch = batch.to_vec();
            batches.spawn_on(
                async move { publisher.withdraw_batch(&batch).await },
                &self.runtime,
            );
        }
        while batches.join_next().await.is_some() {}
        let mut first_attempts = self.first_attempts.subscribe();
        // The sender is `self`, so there is no error to see.
        let _ = first_attempts.wait_for(|count| *count == 0).await;
    }

    async fn withdraw_batch(&self, publications: &[Arc<Publication>]) {
        let withdrawals: Vec<Withdrawal> = publications
            .iter()
            .filter_map(|publication| publication.withdrawal(&self.identity)?.ok())
            .collect();
        let services = withdrawals.len();
        if services == 0 {
            return;
        }
        match self.withdraw_once(withdrawals).await {
            Ok(()) => info!(services, "withdrawn"),
            Err(cause) => self.give_up(services, cause),
        }
    }

    /// One attempt, waiting for its turn included.
    async fn withdraw_once(&self, withdrawals: Vec<Withdrawal>) -> Result<(), DhtError> {
        let count = withdrawals.len() as u64;
        let attempt = async {
            // The semaphore is never closed, so there is always a permit to wait for.
            let _permit = self.withdrawing.acquire().await;
            self.dht.withdraw(withdrawals).await
        };
        match timeout(self.config.withdraw_timeout, attempt).await {
            Ok(report) => drop(report?),
            Err(_elapsed) => return Err(DhtError::Unreachable),
        }
        self.counters.withdrawn.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    async fn retry(&self, publication: &Publication, withdrawal: Withdrawal, cause: DhtError) {
        let service = publication.name();
        let Ok(_permit) = self.retrying.try_acquire() else {
            return self.give_up(1, cause);
        };
        let mut cause = cause;
        for failures in 0..WITHDRAW_RETRIES {
            if cause == DhtError::Closed {
                break;
            }
            let (first, max) = (self.config.retry_first, self.config.retry_max);
            sleep(back_off(first, max, failures)).await;
            match self.withdraw_once(vec![withdrawal.clone()]).await {
                Ok(()) => return info!(%service, "withdrawn"),
                Err(error) => {
                    debug!(%service, %error, "still not withdrawn");
                    cause = error;
                }
            }
        }
        self.give_up(1, cause);
    }

    fn give_up(&self, services: usize, cause: DhtError) {
        let count = services as u64;
        self.counters
            .withdrawals_given_up
            .fetch_add(count, Ordering::Relaxed);
        warn!(services, %cause, "withdrawal given up, the records will expire");
    }
}

/// Counts a first attempt while it lasts, also if its runtime drops it.
struct UnderWay(Arc<Publisher>);

impl UnderWay {
    fn new(publisher: &Arc<Publisher>) -> Self {
        publisher.first_attempts.send_modify(|count| *count += 1);
        Self(Arc::clone(publisher))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.first_attempts.send_modify(|count| *count -= 1);
    }
}

/// How long beyond its timeout a drain may take before it counts as ended.
const OVERTIME: Duration = Duration::from_millis(100);

/// The most withdrawals handed to the DHT at a time.
const WITHDRAWALS_PER_BATCH: usize = 64;

/// How often a withdrawal is tried again in the background.
const WITHDRAW_RETRIES: u32 = 5;
