//! Dials peers back where they say they listen, to see whether it is true.
//!
//! Only at the IP that the peer came from, so that nobody can point us at a third party, and only so
//! often.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use macula_core::Contact;
use tokio::time::{Instant, sleep_until};

use super::attempt::Attempt;
use super::hello::{Hello, Purpose};
use super::link::Link;
use super::node::Node;
use super::peer::Role;
use super::trace;
use crate::CloseCode;

/// When the next probe is due.
pub(super) struct Probes {
    next: Mutex<Option<Instant>>,
}

impl Probes {
    pub(super) fn new() -> Self {
        Self {
            next: Mutex::new(None),
        }
    }

    /// The instant for one more probe; `None` when too many wait already.
    fn schedule(&self, now: Instant) -> Option<Instant> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = next.map_or(now, |next| next.max(now));
        if due - now > LONGEST_WAIT {
            return None;
        }
        *next = Some(due + PACE);
        Some(due)
    }
}

/// Probes a peer that has dialled us, if it is worth it.
pub(super) fn consider(node: &Arc<Node>, link: &Arc<Link>) {
    let is_useful = node.config.role == Role::Server
        && link.hello.role == Role::Server
        && !node.pool.has_proved(&link.node_id());
    let addresses = candidates(&link.hello, link.connection.remote_address());
    if !is_useful || addresses.is_empty() {
        return;
    }
    let Some(due) = node.probes.schedule(Instant::now()) else {
        node.counters.probes_skipped.add();
        return;
    };
    let weak = Arc::downgrade(node);
    let link = Arc::clone(link);
    node.spawn(async move {
        sleep_until(due).await;
        for address in addresses {
            if probe(&weak, &link, address).await {
                return;
            }
        }
    });
}

/// Where a peer that came from an address can be probed.
fn candidates(hello: &Hello, came_from: SocketAddr) -> Vec<SocketAddr> {
    let ip = came_from.ip().to_canonical();
    let mut candidates = Vec::new();
    for listening in hello.listening.iter() {
        let address = SocketAddr::new(ip, listening.port());
        let is_there = listening.ip() == ip || listening.ip().is_unspecified();
        if is_there && listening.port() != 0 && !candidates.contains(&address) {
            candidates.push(address);
        }
    }
    candidates.truncate(MAX_PROBED);
    candidates
}

/// Whether no further address needs probing.
async fn probe(weak: &Weak<Node>, link: &Link, address: SocketAddr) -> bool {
    let peer = link.node_id();
    let attempt = {
        let Some(node) = weak.upgrade() else {
            return true;
        };
        if node.pool.has_proved(&peer) {
            return true;
        }
        node.counters.probes.add();
        let target = Contact::new(peer, [address]).into();
        Attempt::new(&node, target, Purpose::Probe)
    };
    let Ok(greeted) = attempt.run().await else {
        trace::probe_failed(link, address);
        return false;
    };
    greeted.connection.close(CloseCode::Done);
    let Some(node) = weak.upgrade() else {
        return true;
    };
    node.counters.probes_succeeded.add();
    trace::probe_succeeded(link, address);
    // We have dialled it ourselves now, so it is believed where it has dialled us.
    if let Some(dialled) = link.hello.dialled {
        node.own_addresses.confirm(peer, dialled);
    }
    node.pool.prove(&peer, address);
    true
}

/// The least time between two probes.
const PACE: Duration = Duration::from_millis(20);

/// A probe that would have to wait for longer is left out.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The most addresses probed for one peer.
const MAX_PROBED: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::hello::Versions;

    fn hello(listening: &[&str]) -> Hello {
        Hello {
            versions: Versions::OWN,
            realm: macula_core::Realm::default(),
            role: Role::Server,
            listening: listening.iter().map(|text| text.parse().unwrap()).collect(),
            capabilities: 0,
            dialled: None,
            purpose: Purpose::Requests,
        }
    }

    #[test]
    fn only_the_ip_that_the_peer_came_from_is_probed() {
        let hello = hello(&[
            "203.0.113.9:80",
            "10.0.0.7:7000",
            "0.0.0.0:7001",
            "[::]:7001",
        ]);
        let from = "10.0.0.7:54321".parse().unwrap();
        let expected: Vec<SocketAddr> = vec![
            "10.0.0.7:7000".parse().unwrap(),
            "10.0.0.7:7001".parse().unwrap(),
        ];
        assert_eq!(candidates(&hello, from), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_are_paced_and_bounded() {
        let probes = Probes::new();
        let now = Instant::now();
        let due: Vec<_> = std::iter::from_fn(|| probes.schedule(now)).collect();
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] == PACE));
        assert!(due.iter().all(|due| *due - now <= LONGEST_WAIT));
    }
}
