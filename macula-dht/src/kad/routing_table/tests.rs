//! The table against a naive one: lists that are searched from end to end.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::kad::kbucket::MAX_REPLACEMENTS;
use crate::kad::known_contact::MAX_FAILURES;
use naive::NaiveTable;

mod naive;

const K: usize = 2;
const NODES: u8 = 24;
const LIMITS: Limits = Limits {
    k: K,
    per_subnet: None,
};

/// What may happen to the table; a contact is a node and the subnet it is reached in.
#[derive(Debug, Clone)]
enum Operation {
    Reach(u8, u8),
    Answer(u8, Duration),
    Fail(u8),
    Depart(u8),
    /// Those whose time has come are asked again.
    Retry,
    Wait(Duration),
}

fn operation() -> impl Strategy<Value = Operation> {
    let node = 0..NODES;
    let rtt = (1..200_u64).prop_map(Duration::from_millis);
    let wait = (0..20_u64, prop::bool::weighted(0.2)).prop_map(|(tenths, is_long)| {
        Duration::from_millis(tenths * if is_long { 10_000 } else { 100 })
    });
    prop_oneof![
        6 => (node.clone(), 0..4_u8).prop_map(|(node, subnet)| Operation::Reach(node, subnet)),
        2 => (node.clone(), rtt).prop_map(|(node, rtt)| Operation::Answer(node, rtt)),
        4 => node.clone().prop_map(Operation::Fail),
        1 => node.prop_map(Operation::Depart),
        1 => Just(Operation::Retry),
        3 => wait.prop_map(Operation::Wait),
    ]
}

fn contact(node: u8, subnet: u8) -> Contact {
    let address = SocketAddr::from((Ipv4Addr::new(10, 0, subnet, node), 9443));
    Contact::new(node_id(node), [address])
}

fn node_id(node: u8) -> NodeId {
    NodeId::from_bytes([node; 32])
}

fn key(node: u8) -> Key {
    Key::of_node(&node_id(node))
}

/// What the table holds, seen from outside.
struct Bed {
    table: RoutingTable,
    now: Instant,
}

impl Bed {
    fn new(local: u8, limits: Limits) -> Self {
        Self {
            table: RoutingTable::new(key(local), limits),
            now: tokio::time::Instant::now().into_std(),
        }
    }

    fn apply(&mut self, operation: &Operation) {
        let now = self.now;
        match *operation {
            Operation::Reach(node, subnet) => {
                self.reach(node, subnet);
            }
            Operation::Answer(node, rtt) => self.table.answered(now, &node_id(node), rtt),
            Operation::Fail(node) => drop(self.table.failed(now, &node_id(node))),
            Operation::Depart(node) => drop(self.table.remove(&node_id(node))),
            Operation::Retry => drop(self.table.take_retries(now)),
            Operation::Wait(wait) => self.now += wait,
        }
        self.table.check_invariants();
    }

    fn reach(&mut self, node: u8, subnet: u8) -> Option<Admission> {
        self.table.admit(self.now, contact(node, subnet).into())
    }

    fn fail(&mut self, node: u8) -> bool {
        self.table.failed(self.now, &node_id(node)).is_some()
    }

    /// Lets a contact fail until it counts as dead.
    fn kill(&mut self, node: u8) {
        let mut failures = 1;
        while !self.fail(node) {
            self.now += Duration::from_secs(60);
            failures += 1;
        }
        assert_eq!(failures, MAX_FAILURES);
    }

    fn placed(&self) -> BTreeSet<NodeId> {
        let contacts = self.table.contacts().into_iter();
        contacts.map(|contact| contact.node_id).collect()
    }

    fn handed_out(&self, target: &Key, count: usize) -> Vec<Contact> {
        let closest = self.table.closest(target).take(count);
        closest.map(|contact| Contact::clone(contact)).collect()
    }
}

/// Nodes in the same bucket of the table of node 0: the furthest.
fn rivals(count: usize) -> Vec<u8> {
    let is_furthest = |node: &u8| key(*node).distance(&key(0)).leading_zeros() == 0;
    let rivals: Vec<u8> = (1..=255).filter(is_furthest).take(count).collect();
    assert_eq!(rivals.len(), count);
    rivals
}

proptest! {
    #[test]
    fn table_holds_and_finds_what_a_naive_one_does(
        local in 0..NODES,
        per_subnet in prop::option::of(1..4_usize),
        operations in prop::collection::vec(operation(), 0..160),
        target in any::<[u8; 32]>().prop_map(Key::from_bytes),
        count in 0..30_usize,
    ) {
        let per_subnet = per_subnet.and_then(NonZeroUsize::new);
        let limits = Limits { k: K, per_subnet };
        let mut bed = Bed::new(local, limits);
        let mut naive = NaiveTable::new(local, limits);
        let mut reached = BTreeSet::new();
        for operation in &operations {
            bed.apply(operation);
            naive.apply(operation);
            if let Operation::Reach(node, _) = operation {
                reached.insert(node_id(*node));
            }
            prop_assert_eq!(bed.handed_out(&target, count), naive.closest(&target, count));
            prop_assert_eq!(bed.table.seeds(&target, count), naive.seeds(&target, count));
            prop_assert_eq!(bed.table.replacements(), naive.replacements());
            let contacts = bed.table.contacts();
            let placed = bed.placed();
            prop_assert_eq!(contacts.len(), placed.len(), "a contact is there twice");
            prop_assert_eq!(bed.table.len(), placed.len());
            prop_assert!(placed.is_subset(&reached), "one that was not reached is there");
            prop_assert!(!placed.contains(&node_id(local)));
        }
        for node in 0..NODES {
            prop_assert_eq!(bed.table.rtt(&node_id(node)), naive.rtt(node));
        }
    }

    /// All depths come up, and points whose first 64 bits are the same.
    #[test]
    fn closest_are_those_that_sorting_gives(
        local in any::<[u8; 32]>(),
        points in prop::collection::vec((depth(), any::<[u8; 32]>(), any::<bool>()), 0..300),
        target in (depth(), any::<[u8; 32]>(), any::<bool>()),
        count in 0..30_usize,
    ) {
        let now = tokio::time::Instant::now().into_std();
        let limits = Limits { k: 20, per_subnet: None };
        let mut table = RoutingTable::new(Key::from_bytes(local), limits);
        let mut held = BTreeSet::new();
        for (depth, tail, has_twins) in points {
            let mut point = sharing(&local, depth, tail);
            if has_twins && depth < 64 {
                point[8..24].fill(0xa5);
                point[depth / 8 + 1..8].fill(0xa5);
            }
            let point = Key::from_bytes(point);
            let placed = PlacedContact::at(point, contact(1, 1));
            if table.admit(now, placed) == Some(Admission::Added) {
                held.insert(point);
            }
        }
        table.check_invariants();
        let (depth, tail, is_shared) = target;
        let target = if is_shared { sharing(&local, depth, tail) } else { tail };
        let target = Key::from_bytes(target);
        let mut sorted: Vec<Key> = held.into_iter().collect();
        sorted.sort_by_key(|point| point.distance(&target));
        sorted.truncate(count);
        let closest = table.closest(&target).take(count);
        let closest: Vec<Key> = closest.map(|contact| *contact.key()).collect();
        prop_assert_eq!(closest, sorted);
    }
}

/// Mostly those that a table has many contacts at.
fn depth() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0..8_usize, 1 => 0..256_usize]
}

/// A point that shares exactly so many leading bits with another.
fn sharing(local: &[u8; 32], depth: usize, tail: [u8; 32]) -> [u8; 32] {
    let mut point = tail;
    for bit in 0..=depth {
        let (byte, mask) = (bit / 8, 0x80_u8 >> (bit % 8));
        let ours = local[byte] & mask;
        let wanted = if bit == depth { ours ^ mask } else { ours };
        point[byte] = (point[byte] & !mask) | wanted;
    }
    point
}

#[test]
fn full_bucket_keeps_the_living_and_remembers_the_newcomer() {
    let mut bed = Bed::new(0, LIMITS);
    let nodes = rivals(4);
    let admissions: Vec<_> = nodes.iter().map(|node| bed.reach(*node, 1)).collect();
    let (added, waiting) = (Some(Admission::Added), Some(Admission::Waiting));
    assert_eq!(admissions, [added, added, waiting, waiting]);
    let first = BTreeSet::from([node_id(nodes[0]), node_id(nodes[1])]);
    assert_eq!((bed.placed(), bed.table.replacements()), (first, 2));
}

#[test]
fn dead_contact_is_replaced_by_who_was_heard_of_last() {
    let mut bed = Bed::new(0, LIMITS);
    let nodes = rivals(4);
    for node in &nodes {
        bed.reach(*node, 1);
    }
    bed.kill(nodes[0]);
    let expected = BTreeSet::from([node_id(nodes[1]), node_id(nodes[3])]);
    assert_eq!((bed.placed(), bed.table.replacements()), (expected, 1));
}

#[test]
fn fastest_of_those_that_wait_gets_the_place_unless_it_is_out_of_date() {
    for (silence, winner) in [(10, 2), (3600, 3)] {
        let mut bed = Bed::new(0, LIMITS);
        let nodes = rivals(5);
        for node in &nodes {
            bed.reach(*node, 1);
        }
        let answer = |bed: &mut Bed, which: usize, millis| {
            let rtt = Duration::from_millis(millis);
            bed.table.answered(bed.now, &node_id(nodes[which]), rtt);
        };
        answer(&mut bed, 2, 20);
        bed.now += Duration::from_secs(silence);
        answer(&mut bed, 3, 80);
        answer(&mut bed, 4, 90);
        bed.table.remove(&node_id(nodes[0]));
        assert!(bed.placed().contains(&node_id(nodes[winner])), "{silence}");
        let rtt = bed.table.rtt(&node_id(nodes[2]));
        assert_eq!(rtt, Some(Duration::from_millis(20)));
    }
}

#[test]
fn failing_contact_keeps_its_place_but_is_not_handed_out_and_comes_last_in_seeds() {
    let mut bed = Bed::new(0, LIMITS);
    let nodes = rivals(3);
    for node in &nodes {
        bed.reach(*node, 1);
    }
    // It is the closest there is, and another waits for its place.
    assert!(!bed.fail(nodes[0]));
    let target = key(nodes[0]);
    assert_eq!(bed.handed_out(&target, 9), [contact(nodes[1], 1)]);
    let seeds = [contact(nodes[1], 1), contact(nodes[0], 1)];
    assert_eq!(bed.table.seeds(&target, 9), seeds);
    assert_eq!(bed.table.len(), 2);
    bed.table
        .answered(bed.now, &node_id(nodes[0]), Duration::from_millis(1));
    assert_eq!(bed.handed_out(&target, 1), [contact(nodes[0], 1)]);
}

#[test]
fn failing_contact_is_asked_again_once_per_back_off_and_requests_lost_together_count_once() {
    let mut bed = Bed::new(0, LIMITS);
    let node = rivals(1)[0];
    bed.reach(node, 1);
    assert_eq!(bed.table.next_retry(), None);
    let mut waits = Vec::new();
    loop {
        let failed_at = bed.now;
        if bed.fail(node) {
            break;
        }
        assert!(!bed.fail(node), "lost together with the one before");
        let retry_at = bed.table.next_retry().unwrap();
        waits.push(retry_at - failed_at);
        assert!(
            bed.table
                .take_retries(retry_at - Duration::from_nanos(1))
                .is_empty()
        );
        bed.now = retry_at;
        assert_eq!(bed.table.take_retries(bed.now), [contact(node, 1)]);
        assert!(bed.table.take_retries(bed.now).is_empty());
        assert_eq!(bed.table.next_retry(), None);
    }
    assert_eq!(waits.len(), usize::from(MAX_FAILURES) - 1);
    assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]));
    assert!(bed.table.is_empty());
}

#[test]
fn longest_waiting_of_too_many_gives_way() {
    let mut bed = Bed::new(0, LIMITS);
    let nodes = rivals(K + MAX_REPLACEMENTS + 1);
    for node in &nodes {
        bed.reach(*node, 1);
    }
    assert_eq!(bed.table.replacements(), MAX_REPLACEMENTS);
    for node in &nodes[K + 2..] {
        bed.table.remove(&node_id(*node));
    }
    bed.table.remove(&node_id(nodes[0]));
    let last = BTreeSet::from([node_id(nodes[1]), node_id(nodes[K + 1])]);
    assert_eq!(bed.placed(), last, "the first to wait had to go");
}

#[test]
fn one_subnet_fills_no_more_of_a_bucket_than_it_may() {
    let limits = Limits {
        k: K,
        per_subnet: NonZeroUsize::new(1),
    };
    let mut bed = Bed::new(0, limits);
    let nodes = rivals(4);
    assert_eq!(bed.reach(nodes[0], 1), Some(Admission::Added));
    assert_eq!(bed.reach(nodes[1], 1), Some(Admission::Crowded));
    assert_eq!(bed.reach(nodes[1], 2), Some(Admission::Added));
    assert_eq!(bed.reach(nodes[2], 2), Some(Admission::Crowded));
    assert_eq!(bed.reach(nodes[2], 3), Some(Admission::Waiting));
    assert_eq!(bed.reach(nodes[3], 3), Some(Admission::Crowded));
    // Whoever moves to where there are enough loses its place.
    assert_eq!(bed.reach(nodes[0], 2), Some(Admission::Crowded));
    let left = BTreeSet::from([node_id(nodes[1]), node_id(nodes[2])]);
    assert_eq!(bed.placed(), left);
    bed.table.check_invariants();
}

#[test]
fn contact_without_an_address_and_ourselves_are_not_admitted() {
    let mut bed = Bed::new(0, LIMITS);
    let nowhere = Contact::new(node_id(1), []);
    assert_eq!(bed.table.admit(bed.now, nowhere.into()), None);
    assert_eq!(bed.reach(0, 1), None);
    assert!(bed.table.is_empty());
    assert_eq!(bed.table.refreshable(), []);
}
