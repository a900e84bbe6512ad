//! Where this node can be reached: what is configured, what it is bound to, or what peers have
//! proved. Never a guess.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use macula_core::{Addresses, NodeId};
use tokio::sync::watch;

use super::trace;

/// What a node may tell others about where it is.
#[derive(Debug)]
pub(super) struct OwnAddresses {
    /// Ports this node listens at: a claim that names another is not about this node.
    ports: Vec<u16>,
    observed: Mutex<Option<Observed>>,
    current: watch::Sender<Addresses>,
}

impl OwnAddresses {
    /// Of a node that others cannot dial.
    pub(super) fn none() -> Self {
        Self {
            ports: Vec::new(),
            observed: Mutex::new(None),
            current: watch::Sender::default(),
        }
    }

    /// Of a node that listens at `bound`, and is told what to `advertise` unless that is empty.
    pub(super) fn new(advertise: Addresses, bound: &[SocketAddr]) -> Self {
        let is_specific = |addr: &&SocketAddr| !addr.ip().is_unspecified();
        let known = if advertise.is_empty() {
            bound.iter().filter(is_specific).copied().collect()
        } else {
            advertise
        };
        Self {
            ports: bound.iter().map(SocketAddr::port).collect(),
            observed: Mutex::new(known.is_empty().then(Observed::default)),
            current: watch::Sender::new(known),
        }
    }

    pub(super) fn current(&self) -> Addresses {
        self.current.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Addresses> {
        self.current.subscribe()
    }

    /// How much of what peers have said was forgotten for want of room.
    pub(super) fn forgotten(&self) -> u64 {
        let observed = self.observed();
        observed.as_ref().map_or(0, |observed| observed.forgotten)
    }

    /// A peer that we know for itself says that it has reached us at an address.
    pub(super) fn confirm(&self, peer: NodeId, address: SocketAddr) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let is_dialable = Addresses::from_iter([address]).are_dialable();
        if !is_dialable || !self.ports.contains(&address.port()) {
            return;
        }
        // Held until the new list is out, so that a later one cannot be overtaken by it.
        let mut observed = self.observed();
        let Some(observed) = observed.as_mut() else {
            return;
        };
        observed.confirm(peer, address);
        let addresses = observed.addresses();
        self.current.send_if_modified(|current| {
            let is_new = *current != addresses;
            if is_new {
                trace::address_proved(address, &peer);
                *current = addresses;
            }
            is_new
        });
    }

    fn observed(&self) -> MutexGuard<'_, Option<Observed>> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What peers say they have reached us at, in the order in which they first said so.
#[derive(Debug, Default)]
struct Observed {
    claims: Vec<Claim>,
    forgotten: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    witness: NodeId,
    address: SocketAddr,
}

impl Observed {
    fn confirm(&mut self, witness: NodeId, address: SocketAddr) {
        let claim = Claim { witness, address };
        if self.claims.contains(&claim) {
            return;
        }
        let said = self.claims.iter().filter(|said| said.witness == witness);
        if said.count() == MAX_CLAIMS_PER_PEER {
            self.forget_first(|said| said.witness == witness);
        } else if self.claims.len() == MAX_CLAIMS {
            self.forget_first(|_| true);
        }
        self.claims.push(claim);
    }

    fn forget_first(&mut self, is_it: impl Fn(&Claim) -> bool) {
        if let Some(place) = self.claims.iter().position(is_it) {
            self.claims.remove(place);
            self.forgotten += 1;
        }
    }

    /// Those that most peers confirm, first; of equally confirmed ones, the first said.
    fn addresses(&self) -> Addresses {
        let mut counted: Vec<(SocketAddr, usize)> = Vec::new();
        for claim in &self.claims {
            match counted
                .iter_mut()
                .find(|(known, _)| *known == claim.address)
            {
                Some((_, count)) => *count += 1,
                None => counted.push((claim.address, 1)),
            }
        }
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let addresses = counted.into_iter().map(|(address, _)| address);
        addresses.take(MAX_OBSERVED).collect()
    }
}

/// The most addresses that count.
const MAX_OBSERVED: usize = 8;

/// The most claims of one peer: one more takes the place of its first. So a liar keeps nobody out,
/// and an address that is no longer ours leaves with those who knew it.
const MAX_CLAIMS_PER_PEER: usize = 2;

/// The most claims of all peers.
const MAX_CLAIMS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: NodeId = NodeId::from_bytes([1; 32]);
    const BOB: NodeId = NodeId::from_bytes([2; 32]);

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn behind_any() -> OwnAddresses {
        OwnAddresses::new(Addresses::default(), &[addr("0.0.0.0:7000")])
    }

    #[test]
    fn a_configured_address_comes_before_a_bound_one() {
        let advertise: Addresses = [addr("203.0.113.5:7000")].into_iter().collect();
        let own = OwnAddresses::new(advertise.clone(), &[addr("10.0.0.1:7000")]);
        assert_eq!(own.current(), advertise);
        own.confirm(ALICE, addr("198.51.100.1:7000"));
        assert_eq!(own.current(), advertise);
    }

    #[test]
    fn a_specific_bound_address_is_taken() {
        let own = OwnAddresses::new(Addresses::default(), &[addr("10.0.0.1:7000")]);
        assert_eq!(*own.current(), [addr("10.0.0.1:7000")]);
    }

    #[test]
    fn an_unspecified_one_says_nothing_until_a_peer_proves_it() {
        let own = behind_any();
        assert!(own.current().is_empty());
        own.confirm(ALICE, addr("10.0.0.1:7000"));
        assert_eq!(*own.current(), [addr("10.0.0.1:7000")]);
    }

    #[test]
    fn a_claim_that_nobody_could_dial_or_about_another_port_counts_for_nothing() {
        let own = behind_any();
        own.confirm(ALICE, addr("224.0.0.1:7000"));
        own.confirm(ALICE, addr("10.0.0.1:7001"));
        own.confirm(ALICE, addr("0.0.0.0:7000"));
        assert!(own.current().is_empty());
    }

    #[test]
    fn what_more_peers_confirm_comes_first() {
        let own = behind_any();
        own.confirm(ALICE, addr("10.0.0.1:7000"));
        own.confirm(ALICE, addr("10.0.0.2:7000"));
        own.confirm(BOB, addr("10.0.0.2:7000"));
        assert_eq!(own.current()[0], addr("10.0.0.2:7000"));
    }

    #[test]
    fn a_liar_fills_no_memory_and_keeps_nobody_out() {
        let own = behind_any();
        for last in 0..=255 {
            own.confirm(ALICE, SocketAddr::from(([10, 0, 0, last], 7000)));
        }
        assert_eq!(own.current().len(), MAX_CLAIMS_PER_PEER);
        assert_eq!(own.forgotten(), 256 - MAX_CLAIMS_PER_PEER as u64);
        own.confirm(BOB, addr("192.0.2.1:7000"));
        assert!(own.current().contains(&addr("192.0.2.1:7000")));
    }

    #[test]
    fn an_address_of_old_is_forgotten_once_its_witnesses_know_newer_ones() {
        let own = behind_any();
        for last in 1..=3 {
            own.confirm(ALICE, SocketAddr::from(([10, 0, 0, last], 7000)));
        }
        assert!(!own.current().contains(&addr("10.0.0.1:7000")));
        assert!(own.current().contains(&addr("10.0.0.3:7000")));
    }
}
