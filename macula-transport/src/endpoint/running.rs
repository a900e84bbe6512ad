//! The calls of a peer whose handlers run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use super::frame::CallId;
use super::lane::Lane;

/// All of them on one connection. Bounded by the quota of the peer, of which each holds a share.
pub(super) struct Running(Mutex<State>);

#[derive(Default)]
struct State {
    works: BTreeMap<CallId, Work>,
    next_number: u64,
    /// The connection has ended: nothing begins any more.
    is_closed: bool,
}

/// What is done for one call.
struct Work {
    /// Tells it from a later one under the same id.
    number: u64,
    /// Where it came from.
    lane: Arc<Lane>,
    /// Ends it; none yet while it is being started.
    task: Option<AbortHandle>,
}

/// Names what has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkId {
    call: CallId,
    number: u64,
}

impl Running {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// How many run.
    pub(super) fn count(&self) -> usize {
        self.state().works.len()
    }

    /// Whether nothing runs under this id.
    pub(super) fn is_free(&self, call: CallId) -> bool {
        !self.state().works.contains_key(&call)
    }

    /// Notes that a handler begins; nothing may run under this id. `None` once all were aborted.
    pub(super) fn begin(&self, call: CallId, lane: &Arc<Lane>) -> Option<WorkId> {
        let mut state = self.state();
        if state.is_closed {
            return None;
        }
        let number = state.next_number;
        state.next_number += 1;
        let work = Work {
            number,
            lane: Arc::clone(lane),
            task: None,
        };
        state.works.insert(call, work);
        Some(WorkId { call, number })
    }

    /// Whether it is neither over nor aborted.
    pub(super) fn is_wanted(&self, id: WorkId) -> bool {
        self.state().find(id).is_some()
    }

    /// Notes how to end what has begun. What was taken out before is ended at once.
    pub(super) fn started(&self, id: WorkId, task: AbortHandle) {
        match self.state().find(id) {
            Some(work) => work.task = Some(task),
            None => task.abort(),
        }
    }

    /// It has ended; `answer` says so if anybody still wants to know, and before anybody can find
    /// that nothing runs any more. Whether anybody did.
    pub(super) fn end(&self, id: WorkId, answer: impl FnOnce()) -> bool {
        let mut state = self.state();
        let is_wanted = state.find(id).is_some();
        if is_wanted {
            state.works.remove(&id.call);
            answer();
        }
        is_wanted
    }

    /// Aborts a call that is not wanted any more; whether there was one.
    pub(super) fn abort(&self, call: CallId) -> bool {
        let work = self.state().works.remove(&call);
        let was_running = work.is_some();
        work.into_iter().for_each(Work::abort);
        was_running
    }

    /// Aborts everything that came from a lane.
    pub(super) fn abort_lane(&self, lane: &Lane) {
        self.abort_where(|work| work.lane.is(lane));
    }

    /// Aborts everything, now and from now on.
    pub(super) fn abort_all(&self) {
        self.state().is_closed = true;
        self.abort_where(|_| true);
    }

    /// Whether something runs that came from a lane.
    pub(super) fn has_any_of(&self, lane: &Lane) -> bool {
        self.state().works.values().any(|work| work.lane.is(lane))
    }

    fn abort_where(&self, which: impl Fn(&Work) -> bool) {
        let mut state = self.state();
        let taken = state.works.extract_if(.., |_, work| which(work));
        let taken: Vec<_> = taken.map(|(_, work)| work).collect();
        drop(state);
        taken.into_iter().for_each(Work::abort);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self, id: WorkId) -> Option<&mut Work> {
        let work = self.works.get_mut(&id.call);
        work.filter(|work| work.number == id.number)
    }
}

impl Work {
    fn abort(self) {
        if let Some(task) = self.task {
            task.abort();
        }
        // It may have waited for this to end.
        self.lane.wake();
    }
}
