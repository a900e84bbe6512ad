//! What the end of a walk proves, in networks whose nodes know each other.

use super::*;

/// Walks to the target; the silent never answer, and the failing are known to be gone at once.
fn walk(seeds: &[u8], silent: &BTreeSet<u8>, failing: &BTreeSet<u8>) -> Lookup {
    let now = now();
    let mut lookup = Lookup::new(now, quest(now), contacts(seeds));
    while let Step::Ask(contact) = lookup.poll(now) {
        let peer = contact.node_id.as_bytes()[0];
        if silent.contains(&peer) {
            lookup.release_slot(&contact.node_id);
        } else if failing.contains(&peer) {
            lookup.handle_failure(now, &contact.node_id);
        } else {
            let others = by_distance((0..PEERS).filter(|other| *other != peer));
            answer(&mut lookup, now, peer, &others[..K]);
        }
    }
    lookup
}

/// A point that shares so many bits with the target, at least.
fn beside_target(bits: u32, point: [u8; 32]) -> Key {
    let mut point = point;
    let own = u8::MAX.checked_shr(bits).unwrap_or(0);
    point[0] = (point[0] & own) | (target().as_bytes()[0] & !own);
    Key::from_bytes(point)
}

proptest! {
    #[test]
    fn closest_that_a_walk_shows_to_other_points_are_those_of_the_whole_network(
        seeds in prop::collection::btree_set(0..PEERS, 1..4),
        silent in prop::collection::btree_set(0..PEERS, 0..8),
        failing in prop::collection::btree_set(0..PEERS, 0..8),
        points in prop::collection::vec((0..=8_u32, any::<[u8; 32]>()), 32),
    ) {
        let seeds: Vec<u8> = seeds.into_iter().collect();
        let lookup = walk(&seeds, &silent, &failing);
        let Some(region) = lookup.region(now()) else { return Ok(()) };
        let audible = (0..PEERS).filter(|peer| !silent.contains(peer) && !failing.contains(peer));
        let mut audible: Vec<u8> = audible.collect();
        for (bits, point) in points {
            let point = beside_target(bits, point);
            if region.covers(&point, REPLICATION) {
                audible.sort_by_key(|peer| Key::of_node(&node_id(*peer)).distance(&point));
                let closest = contacts(&audible[..REPLICATION]);
                prop_assert_eq!(&region.closest_to(&point)[..REPLICATION], closest);
            }
        }
    }
}

#[test]
fn walk_that_all_answer_covers_points_besides_its_target() {
    let nobody = BTreeSet::new();
    let region = walk(&[0], &nobody, &nobody).region(now()).unwrap();
    assert!(region.covers(&target(), REPLICATION));
    let mut next_to_it = *target().as_bytes();
    next_to_it[31] ^= 1;
    assert!(region.covers(&Key::from_bytes(next_to_it), REPLICATION));
    let opposite = beside_target(0, target().as_bytes().map(|byte| !byte));
    assert!(!region.covers(&opposite, REPLICATION));
}

#[test]
fn walk_that_is_cut_short_proves_nothing() {
    let now = now();
    let mut lookup = Lookup::new(now, quest(now), contacts(&[0, 1, 2]));
    assert_eq!(asked(&mut lookup, now).len(), 3);
    let others = by_distance(3..PEERS);
    answer(&mut lookup, now, 0, &others[..K]);
    assert_eq!(lookup.poll(now + TIMEOUT), Step::Done);
    assert!(lookup.region(now).is_none());
}

#[test]
fn few_who_all_answer_are_everybody_and_few_of_whom_one_is_silent_are_not() {
    let now = now();
    let opposite = beside_target(0, target().as_bytes().map(|byte| !byte));
    for (failing, covers) in [(None, true), (Some(1), false)] {
        let mut lookup = Lookup::new(now, quest(now), contacts(&[0, 1]));
        for peer in asked(&mut lookup, now) {
            if failing == Some(peer) {
                lookup.handle_failure(now, &node_id(peer));
            } else {
                answer(&mut lookup, now, peer, &[0, 1]);
            }
        }
        assert_eq!(lookup.poll(now), Step::Done);
        let region = lookup.region(now).unwrap();
        assert_eq!(region.covers(&opposite, REPLICATION), covers);
    }
}
