//! Whether a connected peer still answers: judged by its answers, never by an open socket.
//!
//! While a peer leaves every request unanswered it is pinged, which costs its endpoint nothing and
//! takes no handler; a slow handler therefore kills no connection, and a dead peer is found out
//! long before its socket is.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::config::EndpointConfig;
use super::link::Link;
use super::node::Node;
use super::outbound::ping;

/// What a peer owes us: the requests that it has not answered.
pub(super) struct Answers {
    awaited: usize,
    /// Since when everything has stayed unanswered. Requests that were given up count too: callers
    /// of little patience would hide a dead peer otherwise.
    unanswered_since: Option<Instant>,
    /// Whether the watch waits for a request. It then watches for a while, so that a peer that is
    /// called over and over wakes it once an interval and not once a call.
    watch_rests: bool,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            awaited: 0,
            unanswered_since: None,
            watch_rests: false,
        }
    }

    /// A request goes out; whether the watch has to be woken.
    pub(super) fn begin(&mut self) -> bool {
        self.unanswered_since.get_or_insert_with(Instant::now);
        self.awaited += 1;
        std::mem::take(&mut self.watch_rests)
    }

    /// A request is no longer waited for, whatever came of it.
    pub(super) fn end(&mut self) {
        self.awaited -= 1;
    }

    /// The peer has said something: any word is a sign of life.
    pub(super) fn heard(&mut self, now: Instant) {
        self.unanswered_since = (self.awaited > 0).then_some(now);
    }

    pub(super) fn awaited(&self) -> usize {
        self.awaited
    }

    /// How long the peer has left everything unanswered; `None` while it owes nothing.
    pub(super) fn quiet_for(&self) -> Option<Duration> {
        self.unanswered_since.map(|since| since.elapsed())
    }

    /// Whether the peer owes an answer; if not, the next request wakes the watch.
    pub(super) fn is_owed(&mut self) -> bool {
        self.watch_rests = self.unanswered_since.is_none();
        !self.watch_rests
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
    node.spawn_on_link(watch.run());
}

struct Watch {
    node: Weak<Node>,
    link: Arc<Link>,
    interval: Duration,
    max_missed: u32,
}

impl Watch {
    async fn run(self) {
        let connection = Arc::clone(&self.link.connection);
        tokio::select! {
            biased;
            _ = connection.closed() => {}
            () = self.link.calls.watch_deadlines() => {}
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
            self.link.calls.owed().await;
            sleep(self.interval).await;
            if self.is_quiet() && self.misses_every_ping().await {
                return;
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let quiet = self.link.calls.quiet_for();
        quiet.is_some_and(|quiet| quiet >= self.interval)
    }

    /// Pings; one that cannot even be sent counts as missed, for nothing that the peer takes in
    /// would keep it back.
    async fn misses_every_ping(&self) -> bool {
        for _ in 0..self.max_missed {
            // Boxed, for an idle connection shall not carry room for it.
            let pinging = Box::pin(ping(&self.node, &self.link, self.interval));
            let is_missed = pinging.await == Some(false);
            if !is_missed || !self.is_quiet() {
                return false;
            }
        }
        true
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
