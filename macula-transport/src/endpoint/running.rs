//! The calls of a peer whose handlers run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use super::frame::CallId;
use super::lane::Lane;

/// All of them on one connection. Bounded by the quota of the peer, of which each holds a share.
pub(super) struct Running(Mutex<BTreeMap<CallId, Work>>);

/// What is done for one call.
pub(super) struct Work {
    /// Where it came from.
    lane: Arc<Lane>,
    /// Ends it; none yet while it is being started.
    task: Option<AbortHandle>,
}

impl Running {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Whether nothing runs under this id.
    pub(super) fn is_free(&self, call: CallId) -> bool {
        !self.works().contains_key(&call)
    }

    pub(super) fn begin(&self, call: CallId, lane: &Arc<Lane>) {
        let work = Work {
            lane: Arc::clone(lane),
            task: None,
        };
        self.works().insert(call, work);
    }

    /// Notes how to end what has begun, unless it has ended by itself.
    pub(super) fn started(&self, call: CallId, task: AbortHandle) {
        if let Some(work) = self.works().get_mut(&call) {
            work.task = Some(task);
        }
    }

    /// It has ended; `answer` says so if anybody still wants to know, and before anybody can find
    /// that nothing runs any more.
    pub(super) fn end(&self, call: CallId, answer: impl FnOnce()) {
        let mut works = self.works();
        let was_wanted = works.remove(&call).is_some();
        if was_wanted {
            answer();
        }
    }

    /// Takes a call out that is not wanted any more.
    pub(super) fn take(&self, call: CallId) -> Option<Work> {
        self.works().remove(&call)
    }

    /// Takes everything out that came from a lane.
    pub(super) fn take_lane(&self, lane: &Lane) -> Vec<Work> {
        self.take_where(|work| work.lane.is(lane))
    }

    /// Takes everything out.
    pub(super) fn take_all(&self) -> Vec<Work> {
        self.take_where(|_| true)
    }

    /// Whether something runs that came from a lane.
    pub(super) fn has_any_of(&self, lane: &Lane) -> bool {
        self.works().values().any(|work| work.lane.is(lane))
    }

    fn take_where(&self, which: impl Fn(&Work) -> bool) -> Vec<Work> {
        let mut works = self.works();
        let taken = works.extract_if(.., |_, work| which(work));
        taken.map(|(_, work)| work).collect()
    }

    fn works(&self) -> MutexGuard<'_, BTreeMap<CallId, Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    pub(super) fn abort(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }
}
