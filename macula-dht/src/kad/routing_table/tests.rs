//! The table against a naive one: lists that are searched from end to end.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::kad::kbucket::{MAX_FAILURES, MAX_REPLACEMENTS};

const K: usize = 2;

#[derive(Debug, Clone)]
enum Operation {
    Reach(u8),
    Answer(u8),
    Fail(u8),
    Disconnect(u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    let node = 0..24_u8;
    prop_oneof![
        3 => node.clone().prop_map(Operation::Reach),
        1 => node.clone().prop_map(Operation::Answer),
        2 => node.clone().prop_map(Operation::Fail),
        1 => node.prop_map(Operation::Disconnect),
    ]
}

fn contact(node: u8) -> Contact {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1000 + u16::from(node)));
    Contact::new(NodeId::from_bytes([node; 32]), [address])
}

#[derive(Default)]
struct NaiveTable {
    buckets: BTreeMap<usize, NaiveBucket>,
}

#[derive(Default)]
struct NaiveBucket {
    /// Who has a place and how often it failed; least recently heard of first.
    placed: Vec<(u8, u32)>,
    /// Longest waiting first.
    waiting: Vec<u8>,
}

impl NaiveTable {
    fn apply(&mut self, local: u8, operation: &Operation) {
        let (Operation::Reach(node)
        | Operation::Answer(node)
        | Operation::Fail(node)
        | Operation::Disconnect(node)) = *operation;
        if node == local {
            return;
        }
        let [key, local_key] = [node, local].map(|node| Key::of_node(&contact(node).node_id));
        let index = key.distance(&local_key).bucket_index().unwrap();
        let NaiveBucket { placed, waiting } = self.buckets.entry(index).or_default();
        let position = placed.iter().position(|(placed, _)| *placed == node);
        match (operation, position) {
            (Operation::Reach(_) | Operation::Answer(_), Some(position)) => {
                placed.remove(position);
                placed.push((node, 0));
            }
            (Operation::Reach(_), None) => {
                waiting.retain(|other| *other != node);
                if placed.len() < K {
                    placed.push((node, 0));
                } else {
                    waiting.push(node);
                    if waiting.len() > MAX_REPLACEMENTS {
                        waiting.remove(0);
                    }
                }
            }
            (Operation::Fail(_), Some(position)) => {
                placed[position].1 += 1;
                if placed[position].1 >= MAX_FAILURES || !waiting.is_empty() {
                    placed.remove(position);
                    placed.extend(waiting.pop().map(|node| (node, 0)));
                }
            }
            (Operation::Fail(_), None) => waiting.retain(|other| *other != node),
            (Operation::Disconnect(_), Some(position)) => {
                let known = placed.remove(position);
                placed.insert(0, known);
            }
            _ => {}
        }
    }

    fn closest(&self, target: &Key, count: usize) -> Vec<Contact> {
        let placed = self.buckets.values().flat_map(|bucket| &bucket.placed);
        let mut contacts: Vec<Contact> = placed.map(|(node, _)| contact(*node)).collect();
        contacts.sort_by_key(|contact| Key::of_node(&contact.node_id).distance(target));
        contacts.truncate(count);
        contacts
    }
}

proptest! {
    #[test]
    fn table_holds_and_finds_what_a_naive_one_does(
        local in 0..24_u8,
        operations in prop::collection::vec(operation(), 0..120),
        target in any::<[u8; 32]>(),
        count in 0..30_usize,
    ) {
        let start = tokio::time::Instant::now().into_std();
        let mut table = RoutingTable::new(contact(local).node_id, K);
        let mut naive = NaiveTable::default();
        let target = Key::from_bytes(target);
        for (moment, operation) in operations.iter().enumerate() {
            let now = start + Duration::from_secs(moment as u64);
            match operation {
                Operation::Reach(node) => {
                    let admission = table.admit(now, contact(*node).into());
                    prop_assert_eq!(admission.is_none(), *node == local);
                }
                Operation::Answer(node) => table.answered(now, &contact(*node).node_id),
                Operation::Fail(node) => drop(table.failed(&contact(*node).node_id)),
                Operation::Disconnect(node) => table.disconnected(&contact(*node).node_id),
            }
            naive.apply(local, operation);
            table.check_invariants();
            prop_assert_eq!(table.closest(&target, count), naive.closest(&target, count));
        }
        prop_assert_eq!(table.len(), naive.closest(&target, usize::MAX).len());
    }
}

#[test]
fn full_bucket_keeps_the_living_and_replaces_the_dead_with_who_waited_last() {
    let now = tokio::time::Instant::now().into_std();
    let mut table = RoutingTable::new(contact(0).node_id, K);
    let local_key = Key::of_node(&contact(0).node_id);
    let furthest = |node: &u8| {
        let key = Key::of_node(&contact(*node).node_id);
        key.distance(&local_key).bucket_index() == Some(KEY_BITS - 1)
    };
    let nodes: Vec<u8> = (1..=255).filter(furthest).take(4).collect();
    let admissions: Vec<_> = nodes
        .iter()
        .map(|node| table.admit(now, contact(*node).into()))
        .collect();
    let (added, waiting) = (Some(Admission::Added), Some(Admission::Waiting));
    assert_eq!(admissions, [added, added, waiting, waiting]);
    assert_eq!((table.len(), table.replacements()), (2, 2));
    let lost = table.failed(&contact(nodes[0]).node_id);
    assert_eq!(lost, Some(contact(nodes[0])));
    let mut held = table.closest(&local_key, usize::MAX);
    let mut expected = [contact(nodes[1]), contact(nodes[3])];
    held.sort_by_key(|contact| contact.node_id);
    expected.sort_by_key(|contact| contact.node_id);
    assert_eq!(held, expected);
}

#[test]
fn contact_without_an_address_and_ourselves_are_not_admitted() {
    let now = tokio::time::Instant::now().into_std();
    let mut table = RoutingTable::new(contact(0).node_id, K);
    let nowhere = Contact::new(contact(1).node_id, []);
    assert_eq!(table.admit(now, nowhere.into()), None);
    assert_eq!(table.admit(now, contact(0).into()), None);
    assert!(table.is_empty());
}
