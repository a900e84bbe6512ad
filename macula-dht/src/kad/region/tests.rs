//! The rule of regions beside brute force over whole networks.

use macula_core::NodeId;
use proptest::prelude::*;

use super::*;

const COUNT: usize = 8;

/// A node of a network, at any point.
#[derive(Debug, Clone, Copy)]
struct Node {
    key: Key,
    is_silent: bool,
}

/// Points that crowd in places, so that regions are of all depths and shapes.
fn point() -> impl Strategy<Value = Key> {
    let deep = (any::<[u8; 2]>(), any::<u8>()).prop_map(|([first, second], last)| {
        let mut bytes = [0; 32];
        (bytes[0], bytes[1], bytes[31]) = (first & 0x83, second & 0xf0, last);
        Key::from_bytes(bytes)
    });
    prop_oneof![3 => any::<[u8; 32]>().prop_map(Key::from_bytes), 1 => deep]
}

fn node() -> impl Strategy<Value = Node> {
    (point(), prop::bool::weighted(0.1)).prop_map(|(key, is_silent)| Node { key, is_silent })
}

/// What a perfect walk makes of a network: it hears of the `k` closest, if there are so many, and
/// of those further away as far as silent ones make room for them.
fn walk(nodes: &[Node], target: Key, k: usize) -> Region {
    let nodes = by_distance(nodes, &target);
    let heard = nodes.iter().take(k);
    let reach = match nodes.get(k - 1) {
        Some(last) => Reach::Within(last.key.distance(&target)),
        None if heard.clone().any(|node| node.is_silent) => Reach::Audible,
        None => Reach::Everybody,
    };
    let answered = nodes.iter().filter(|node| !node.is_silent).take(k);
    let answered = answered.map(|node| (node.key.distance(&target), contact(&node.key)));
    Region::new(target, now(), reach, answered.collect())
}

fn by_distance(nodes: &[Node], point: &Key) -> Vec<Node> {
    let mut nodes = nodes.to_vec();
    nodes.sort_by_cached_key(|node| node.key.distance(point));
    nodes.dedup_by_key(|node| node.key);
    nodes
}

/// A contact that says where it is.
fn contact(key: &Key) -> Contact {
    Contact::new(NodeId::from_bytes(*key.as_bytes()), [])
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A point that shares about so many bits with another.
fn beside(point: &Key, bits: usize, other: &Key) -> Key {
    let mut bytes = *other.as_bytes();
    for bit in 0..bits {
        let mask = 0x80_u8 >> (bit % 8);
        bytes[bit / 8] = (bytes[bit / 8] & !mask) | (point.as_bytes()[bit / 8] & mask);
    }
    Key::from_bytes(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn closest_to_a_covered_point_are_those_that_brute_force_finds(
        nodes in prop::collection::vec(node(), 0..200),
        target in point(),
        others in prop::collection::vec((0..24_usize, point()), 16),
        k in 8..=20_usize,
    ) {
        let region = walk(&nodes, target, k);
        for (bits, other) in others {
            let point = beside(&target, bits, &other);
            if !region.covers(&point, COUNT) {
                continue;
            }
            let audible = by_distance(&nodes, &point).into_iter().filter(|node| !node.is_silent);
            let closest: Vec<_> = audible.take(COUNT).map(|node| contact(&node.key)).collect();
            let mut walked = region.closest_to(&point);
            walked.truncate(COUNT);
            prop_assert_eq!(walked, closest);
        }
    }

    #[test]
    fn points_in_a_subtree_that_lies_within_the_horizon_are_covered(
        nodes in prop::collection::vec(node(), 20..200),
        target in point(),
        others in prop::collection::vec(point(), 8),
    ) {
        let region = walk(&nodes, target, 20);
        let Some(depth) = region.depth() else { return Ok(()) };
        let in_subtree = |key: &Key| key.distance(&target).leading_zeros() >= depth;
        let inside = by_distance(&nodes, &target)
            .into_iter()
            .filter(|node| !node.is_silent && in_subtree(&node.key));
        if inside.count() >= COUNT {
            for other in others {
                prop_assert!(region.covers(&beside(&target, depth, &other), COUNT));
            }
        }
    }

    #[test]
    fn nothing_beyond_the_horizon_is_closer_than_the_least_distance(
        horizon in any::<u16>(),
        apart in any::<u16>(),
    ) {
        let distance = |number: u16| {
            let mut bytes = [0; 32];
            bytes[15..17].copy_from_slice(&number.to_be_bytes());
            Distance::from_bytes(bytes)
        };
        let brute = (horizon..=u16::MAX).map(|beyond| beyond ^ apart).min();
        let least = least_distance_beyond(&distance(horizon), &distance(apart));
        prop_assert_eq!(Some(least), brute.map(distance));
    }
}

#[test]
fn walk_covers_its_own_target_unless_too_few_answered() {
    let nodes = |silent: usize| -> Vec<Node> {
        let nodes = (0..40_u8).map(|index| Node {
            key: Key::from_bytes([index; 32]),
            is_silent: usize::from(index) < silent,
        });
        nodes.collect()
    };
    let target = Key::from_bytes([0; 32]);
    assert!(walk(&nodes(0), target, 20).covers(&target, COUNT));
    assert!(walk(&nodes(11), target, 20).covers(&target, COUNT));
    assert!(!walk(&nodes(13), target, 20).covers(&target, COUNT));
}

#[test]
fn few_nodes_that_all_answer_are_everybody() {
    let alone = Node {
        key: Key::from_bytes([7; 32]),
        is_silent: false,
    };
    let silent = Node {
        key: Key::from_bytes([9; 32]),
        is_silent: true,
    };
    let (target, far) = (Key::from_bytes([0; 32]), Key::from_bytes([0xff; 32]));
    assert!(walk(&[alone], target, 20).covers(&far, COUNT));
    assert!(!walk(&[alone, silent], target, 20).covers(&far, COUNT));
}
