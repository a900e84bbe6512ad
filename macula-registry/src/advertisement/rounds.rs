//! The thin task that carries out batches as they fall due.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Work that comes in batches; who does it decides nothing about it.
pub(super) trait Rounds: Send + Sync + 'static {
    /// What is done together.
    type Batch: Send;
    /// What becomes of it.
    type Outcome: Send + 'static;

    /// When there is something to begin; `None` if not before something ends.
    fn next_due(&self) -> Option<Instant>;

    /// What is to begin now.
    fn next_batch(&self, now: Instant) -> Option<Self::Batch>;

    /// Does it. The future owns what it needs, so that it keeps nobody alive.
    fn carry_out(
        &self,
        batch: &Self::Batch,
    ) -> impl Future<Output = Self::Outcome> + Send + 'static;

    /// Takes what became of it; `None` when it panicked.
    fn ended(&self, now: Instant, batch: Self::Batch, outcome: Option<Self::Outcome>);
}

/// Begins each batch when it is due, until the work is dropped; `wake` tells of that, and of
/// whatever may be due earlier than before. Batches under way end with it.
pub(super) async fn run<W: Rounds>(work: Weak<W>, wake: Arc<Notify>) {
    let mut under_way = UnderWay::<W> {
        running: JoinSet::new(),
        batches: HashMap::new(),
    };
    loop {
        let Some(strong) = work.upgrade() else {
            return;
        };
        under_way.begin(&*strong);
        let due = strong.next_due();
        drop(strong);
        tokio::select! {
            () = wake.notified() => {}
            () = at(due) => {}
            Some(ended) = under_way.running.join_next_with_id() => {
                if let Some(strong) = work.upgrade() {
                    under_way.end(&*strong, ended);
                }
            }
        }
    }
}

struct UnderWay<W: Rounds> {
    running: JoinSet<W::Outcome>,
    batches: HashMap<Id, W::Batch>,
}

impl<W: Rounds> UnderWay<W> {
    fn begin(&mut self, work: &W) {
        while let Some(batch) = work.next_batch(Instant::now()) {
            let task = self.running.spawn(work.carry_out(&batch));
            self.batches.insert(task.id(), batch);
        }
    }

    fn end(&mut self, work: &W, ended: Result<(Id, W::Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(error) => (error.id(), None),
        };
        if let Some(batch) = self.batches.remove(&id) {
            work.ended(Instant::now(), batch, outcome);
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
