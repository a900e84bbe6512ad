//! One link at work: takes in the peer's requests, and closes the link when nobody uses it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::horizon::after;
use super::inbound;
use super::link::Link;
use super::node::Node;
use crate::Stream;

/// Begins to serve a link, until it or the endpoint ends.
pub(super) fn start(node: &Arc<Node>, link: &Arc<Link>) {
    let weak = Arc::downgrade(node);
    node.spawn(run(weak, Arc::clone(link), node.config.idle_timeout));
}

async fn run(weak: Weak<Node>, link: Arc<Link>, idle_timeout: Duration) {
    loop {
        // While something is in flight there is nothing to wait for before a whole timeout from
        // now: what ends later starts the timer later.
        let since = link.idle_since().unwrap_or_else(Instant::now);
        let accepted = tokio::select! {
            biased;
            accepted = link.connection.accept() => accepted,
            () = sleep_until(after(since, idle_timeout)) => {
                let Some(node) = weak.upgrade() else { return };
                if link.retire_if_idle_for(idle_timeout) {
                    node.counters.idle_closed.add();
                    node.detach(&link, link.idle_code());
                    return;
                }
                continue;
            }
        };
        let Some(node) = weak.upgrade() else { return };
        match accepted {
            Ok(stream) => {
                let refused = take_in(&node, &link, stream);
                drop(node);
                if let Some((stream, refusal)) = refused {
                    // Inline, so that refusing is bounded too; a peer that does not read what it
                    // asked for holds up only itself.
                    let _ = timeout(REFUSE_TIMEOUT, inbound::refuse(stream, refusal)).await;
                }
            }
            Err(error) => return node.ended(&link, error),
        }
    }
}

/// Starts the work on a request, or hands it back with the reason why not.
fn take_in(node: &Arc<Node>, link: &Arc<Link>, stream: Stream) -> Option<(Stream, crate::Refusal)> {
    let Some(lease) = link.lease() else {
        return Some((stream, crate::Refusal::ShuttingDown));
    };
    match node.dispatch.admit(&link.permits) {
        Ok(admission) => {
            let work = inbound::Inbound::new(node, lease, admission, stream);
            node.spawn(work.run());
            None
        }
        Err(refusal) => {
            node.counters.requests_overloaded.add();
            Some((stream, refusal))
        }
    }
}

/// How long a refusal may wait for the peer to take it.
const REFUSE_TIMEOUT: Duration = Duration::from_secs(1);
