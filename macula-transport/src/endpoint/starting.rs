//! Hands handlers over to the runtimes that they run on.
//!
//! Waking another thread costs more than most handlers do. So those that come in together are handed
//! over together, and become tasks of their own where waking nobody is needed for that.

use std::mem;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::inbound::Handled;
use super::request::Handling;

/// Handlers that are to begin, in the order of their requests.
// Bounded by the frames of a turn, each of which adds one at most.
#[derive(Default)]
pub(super) struct Starting(Vec<Start>);

struct Start {
    runtime: Handle,
    handled: Handled,
    handling: Handling,
    deadline: Instant,
}

impl Starting {
    /// Takes a handler, which begins with the next [`start`](Self::start).
    pub(super) fn push(
        &mut self,
        runtime: Handle,
        handled: Handled,
        handling: Handling,
        deadline: Instant,
    ) {
        self.0.push(Start {
            runtime,
            handled,
            handling,
            deadline,
        });
    }

    /// Lets all begin.
    pub(super) fn start(&mut self) {
        while let Some(first) = self.0.first() {
            let runtime = first.runtime.clone();
            let is_same = |start: &Start| start.runtime.id() == runtime.id();
            let (same, others) = mem::take(&mut self.0).into_iter().partition(is_same);
            self.0 = others;
            start_on(&runtime, same);
        }
    }
}

fn start_on(runtime: &Handle, same: Vec<Start>) {
    let wakes_nobody = runtime.id() == Handle::current().id();
    let is_alone = same.len() == 1;
    let start = move || same.into_iter().for_each(Start::spawn);
    match wakes_nobody || is_alone {
        true => start(),
        false => drop(runtime.spawn(async move { start() })),
    }
}

impl Start {
    fn spawn(self) {
        self.handled
            .spawn(&self.runtime, self.handling, self.deadline);
    }
}
