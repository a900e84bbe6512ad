//! The peers that one lookup has heard of, in order of their distance to its target.

use macula_core::{Addresses, Contact, Distance, Key, NodeId};

/// Candidates that one lookup remembers; beyond it the furthest that was not asked gives way.
pub(super) const MAX_CANDIDATES: usize = 256;

/// A peer that may be asked, or was.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) contact: Contact,
    pub(super) distance: Distance,
    pub(super) state: State,
    /// 1 for a contact we knew, one more for each answer that led to it.
    pub(super) depth: usize,
}

impl Candidate {
    /// Takes the addresses that another peer names, in turn with those that are known: some peers
    /// name wrong ones.
    pub(super) fn also_at(&mut self, addresses: &Addresses) {
        let known = &self.contact.addresses;
        if self.state == State::Unasked && known != addresses {
            let most = known.len().max(addresses.len());
            let in_turn = (0..most).flat_map(|n| [addresses.get(n), known.get(n)]);
            self.contact.addresses = in_turn.flatten().copied().collect();
        }
    }
}

/// Unasked → Asked → (Slow →) Answered or Failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Unasked,
    /// Asked, and holding one of the slots.
    Asked,
    /// Asked, without an answer for so long that its slot went to another.
    Slow,
    Answered,
    Failed,
}

/// Sorted twice, so that a peer is hashed once, when it is new.
///
// Invariant: `by_distance` and `by_id` are sorted, and each names every place of `peers` once.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    target: Key,
    /// In the order in which they were heard of, except that who gives way leaves its place.
    peers: Vec<Candidate>,
    /// Closest first.
    by_distance: Vec<(u64, Place)>,
    by_id: Vec<(u64, Place)>,
}

/// Where a candidate is, as long as it does not give way. Who was asked never does.
pub(super) type Place = u16;

impl Candidates {
    pub(super) fn new(target: Key) -> Self {
        Self {
            target,
            peers: Vec::new(),
            by_distance: Vec::new(),
            by_id: Vec::new(),
        }
    }

    pub(super) fn target(&self) -> Key {
        self.target
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn place(&self, node_id: &NodeId) -> Option<Place> {
        let prefix = id_prefix(node_id);
        let first = self.by_id.partition_point(|(known, _)| *known < prefix);
        self.by_id[first..]
            .iter()
            .take_while(|(known, _)| *known == prefix)
            .map(|(_, place)| *place)
            .find(|place| self.at(*place).contact.node_id == *node_id)
    }

    pub(super) fn at(&self, place: Place) -> &Candidate {
        &self.peers[usize::from(place)]
    }

    pub(super) fn at_mut(&mut self, place: Place) -> &mut Candidate {
        &mut self.peers[usize::from(place)]
    }

    /// All of them, closest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Candidate> {
        self.by_distance.iter().map(|(_, place)| self.at(*place))
    }

    /// Their places, closest first.
    pub(super) fn places(&self) -> impl DoubleEndedIterator<Item = Place> {
        self.by_distance.iter().map(|(_, place)| *place)
    }

    /// Takes a contact that is not known yet; how many are closer. When there is no room it has to
    /// be closer than somebody who was not asked.
    pub(super) fn insert(&mut self, contact: &Contact, depth: usize) -> Option<usize> {
        let distance = Key::of_node(&contact.node_id).distance(&self.target);
        let candidate = Candidate {
            contact: contact.clone(),
            distance,
            state: State::Unasked,
            depth,
        };
        let place = self.make_room(&distance)?;
        let closer = self.closer_than(&distance);
        let id_prefix = id_prefix(&contact.node_id);
        if usize::from(place) < self.peers.len() {
            self.peers[usize::from(place)] = candidate;
        } else {
            self.peers.push(candidate);
        }
        self.by_distance
            .insert(closer, (distance_prefix(&distance), place));
        let by_id = self.by_id.partition_point(|(known, _)| *known < id_prefix);
        self.by_id.insert(by_id, (id_prefix, place));
        Some(closer)
    }

    /// A place for a newcomer: a new one, or that of the furthest who was not asked.
    fn make_room(&mut self, distance: &Distance) -> Option<Place> {
        if self.peers.len() < MAX_CANDIDATES {
            return Place::try_from(self.peers.len()).ok();
        }
        let furthest = self
            .places()
            .rev()
            .find(|place| self.at(*place).state == State::Unasked)?;
        if self.at(furthest).distance < *distance {
            return None;
        }
        self.by_distance.retain(|(_, place)| *place != furthest);
        self.by_id.retain(|(_, place)| *place != furthest);
        Some(furthest)
    }

    fn closer_than(&self, distance: &Distance) -> usize {
        let prefix = distance_prefix(distance);
        self.by_distance.partition_point(|(known, place)| {
            *known < prefix || (*known == prefix && self.at(*place).distance < *distance)
        })
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.peers.len() <= MAX_CANDIDATES, "too many candidates");
        assert!(self.by_id.is_sorted(), "ids out of order");
        assert!(
            self.iter().is_sorted_by_key(|peer| peer.distance),
            "distances out of order"
        );
        for index in [&self.by_distance, &self.by_id] {
            assert_eq!(index.len(), self.peers.len(), "an index lacks a candidate");
        }
        for candidate in &self.peers {
            let place = self.place(&candidate.contact.node_id);
            let found = place.map(|place| self.at(place).distance);
            assert_eq!(found, Some(candidate.distance), "a candidate is lost");
        }
    }
}

/// Enough to tell nearly all apart; who shares it is told apart by the rest.
fn distance_prefix(distance: &Distance) -> u64 {
    first_bytes(distance.as_bytes())
}

fn id_prefix(node_id: &NodeId) -> u64 {
    first_bytes(node_id.as_bytes())
}

fn first_bytes(bytes: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *bytes;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_peers_name_take_turns_until_one_is_asked() {
        let at = |hosts: &[u8]| -> Addresses {
            let hosts = hosts.iter().map(|host| ([10, 0, 0, *host], 1).into());
            hosts.collect()
        };
        let mut candidate = Candidate {
            contact: Contact {
                node_id: NodeId::from_bytes([1; 32]),
                addresses: at(&[1, 2, 3, 4, 5, 6, 7, 8]),
            },
            distance: Key::from_bytes([0; 32]).distance(&Key::from_bytes([1; 32])),
            state: State::Unasked,
            depth: 1,
        };
        candidate.also_at(&at(&[9, 1]));
        assert_eq!(candidate.contact.addresses, at(&[9, 1, 2, 3, 4, 5, 6, 7]));
        candidate.state = State::Asked;
        candidate.also_at(&at(&[11]));
        assert_eq!(candidate.contact.addresses, at(&[9, 1, 2, 3, 4, 5, 6, 7]));
    }
}
