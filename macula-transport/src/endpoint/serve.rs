//! One link at work: takes in the peer's requests, and closes the link when nobody uses it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::config::EndpointConfig;
use super::horizon::after;
use super::inbound::Inbound;
use super::link::Link;
use super::node::Node;

/// Begins to serve a link, until it or the endpoint ends.
pub(super) fn start(node: &Arc<Node>, link: &Arc<Link>) {
    let inbound = Inbound::new(node, link);
    let weak = Arc::downgrade(node);
    let idle = IdleTimeouts::of(&node.config, link);
    node.spawn_on_link(run(weak, inbound, idle));
}

/// How long a connection may be idle.
struct IdleTimeouts {
    /// Before its peer has used it.
    at_first: Duration,
    usual: Duration,
}

impl IdleTimeouts {
    fn of(config: &EndpointConfig, link: &Link) -> Self {
        let usual = config.idle_timeout;
        let at_first = match link.outbound {
            true => usual,
            // Who has dialled has something to ask, which is still on its way. However short the
            // usual time is and however long the way, it takes less than another dial would.
            false => usual.max(config.dial_timeout),
        };
        Self { at_first, usual }
    }
}

async fn run(weak: Weak<Node>, inbound: Arc<Inbound>, idle: IdleTimeouts) {
    let link = Arc::clone(&inbound.link);
    let mut idle_timeout = idle.at_first;
    loop {
        // While something is in flight there is nothing to wait for before a whole timeout from
        // now: what ends later starts the timer later.
        let since = link.idle_since().unwrap_or_else(Instant::now);
        let accepted = tokio::select! {
            biased;
            accepted = link.connection.accept() => accepted,
            () = sleep_until(after(since, idle_timeout)) => {
                let Some(node) = weak.upgrade() else { return };
                // What the peer still sends is refused until the connection is closed.
                if link.retire_if_idle_for(idle_timeout) {
                    node.counters.idle_closed.add();
                    node.retire(&link);
                }
                continue;
            }
        };
        let Some(node) = weak.upgrade() else { return };
        match accepted {
            Ok(stream) => {
                idle_timeout = idle.usual;
                node.take_lane(stream, Arc::clone(&inbound));
            }
            Err(error) => return node.ended(&link, error),
        }
    }
}
