//! Whether a connected peer still answers: judged by its answers, never by an open socket.
//!
//! While a peer leaves every request unanswered it is pinged, which costs its endpoint nothing and
//! takes no handler; a slow handler therefore kills no connection, and a dead peer is found out
//! long before its socket is.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::carrier::{Outgoing, exchange};
use super::config::EndpointConfig;
use super::link::Link;
use super::node::Node;
use crate::{Connection, RequestError, RequestFailure};

/// What a peer owes us: the requests that it has not answered.
pub(super) struct Answers {
    state: Mutex<State>,
    /// Wakes the watch out of its rest.
    awaited: Notify,
}

struct State {
    awaited: usize,
    /// Since when everything has stayed unanswered. Requests that were given up count too: callers
    /// of little patience would hide a dead peer otherwise.
    unanswered_since: Option<Instant>,
    /// Whether the watch waits for a request. It then watches for a while, so that a peer that is
    /// called over and over wakes it once an interval and not once a call.
    watch_rests: bool,
}

/// A request that the peer has not answered. Dropping it gives the answer up.
pub(super) struct Awaited<'a>(&'a Answers);

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                awaited: 0,
                unanswered_since: None,
                watch_rests: false,
            }),
            awaited: Notify::new(),
        }
    }

    /// Notes that a request goes out.
    pub(super) fn await_one(&self) -> Awaited<'_> {
        let mut state = self.state();
        state.unanswered_since.get_or_insert_with(Instant::now);
        state.awaited += 1;
        let wakes = std::mem::take(&mut state.watch_rests);
        drop(state);
        if wakes {
            self.awaited.notify_one();
        }
        Awaited(self)
    }

    /// How long the peer has left everything unanswered; `None` while it owes nothing.
    fn quiet_for(&self) -> Option<Duration> {
        let since = self.state().unanswered_since;
        since.map(|since| since.elapsed())
    }

    /// Waits until the peer owes an answer.
    async fn owed(&self) {
        while !self.is_owed() {
            self.awaited.notified().await;
        }
    }

    /// Whether the peer owes an answer; if not, the next request wakes the watch.
    fn is_owed(&self) -> bool {
        let mut state = self.state();
        state.watch_rests = state.unanswered_since.is_none();
        !state.watch_rests
    }

    fn heard(&self) {
        let mut state = self.state();
        state.unanswered_since = (state.awaited > 0).then(Instant::now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Awaited<'_> {
    /// Notes how it ended: any word of the peer's is a sign of life, a refusal too.
    pub(super) fn ended(self, answer: &Result<Bytes, RequestError>) {
        let answers = self.0;
        drop(self);
        if is_sign_of_life(answer) {
            answers.heard();
        }
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.state().awaited -= 1;
    }
}

fn is_sign_of_life(answer: &Result<Bytes, RequestError>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => matches!(
            error.failure,
            RequestFailure::Refused(_) | RequestFailure::Timeout(_) | RequestFailure::Malformed
        ),
    }
}

/// Begins to watch over a link, until it or the endpoint ends.
pub(super) fn start(node: &Arc<Node>, link: &Arc<Link>) {
    let watch = Watch {
        node: Arc::downgrade(node),
        link: Arc::clone(link),
        interval: node.config.ping_interval,
        max_missed: node.config.max_missed_pings.get(),
    };
    node.spawn(watch.run());
}

struct Watch {
    node: Weak<Node>,
    link: Arc<Link>,
    interval: Duration,
    max_missed: u32,
}

/// What came of a ping.
enum Pinged {
    Answered,
    Missed,
    /// The connection lets no further stream through for now, which is no fault of the peer's.
    NotSent,
}

impl Watch {
    async fn run(self) {
        let connection = Arc::clone(&self.link.connection);
        tokio::select! {
            biased;
            _ = connection.closed() => {}
            () = self.await_silence() => {
                if let Some(node) = self.node.upgrade() {
                    node.unresponsive(&self.link);
                }
            }
        }
    }

    /// Returns once the peer is to be taken for dead.
    async fn await_silence(&self) {
        loop {
            self.link.answers.owed().await;
            sleep(self.interval).await;
            if self.is_quiet() && self.misses_every_ping().await {
                return;
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let quiet = self.link.answers.quiet_for();
        quiet.is_some_and(|quiet| quiet >= self.interval)
    }

    async fn misses_every_ping(&self) -> bool {
        for _ in 0..self.max_missed {
            match ping(&*self.link.connection, self.interval).await {
                Pinged::Missed if self.is_quiet() => {}
                Pinged::Missed | Pinged::NotSent => return false,
                Pinged::Answered => {
                    self.link.answers.heard();
                    return false;
                }
            }
        }
        true
    }
}

async fn ping(connection: &dyn Connection, patience: Duration) -> Pinged {
    let ping = Outgoing::ping(patience);
    let deadline = ping.deadline;
    let sent = AtomicBool::new(false);
    let answer = timeout_at(deadline, exchange(connection, ping, 0, &sent)).await;
    match answer {
        Ok(answer) if is_sign_of_life(&answer) => Pinged::Answered,
        _ if sent.into_inner() => Pinged::Missed,
        _ => Pinged::NotSent,
    }
}

impl EndpointConfig {
    /// How long it takes at most to find out that a peer has died while requests wait for it:
    /// an interval until it is noticed, one until it is pinged, and one for each ping.
    pub fn liveness_bound(&self) -> Duration {
        let intervals = self.max_missed_pings.get().saturating_add(2);
        self.ping_interval.saturating_mul(intervals)
    }
}
