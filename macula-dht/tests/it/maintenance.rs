//! How a node gets to know the network, and finds back into it.

use std::collections::BTreeMap;
use std::time::Duration;

use macula_core::{Contact, Key, NodeId};
use macula_dht::kad::KadConfig;

use crate::virtual_network::VirtualNetwork;

/// Longer than all walks of a newcomer take, and far shorter than a refresh interval.
const FIRST_MINUTE: Duration = Duration::from_secs(60);

#[test]
fn newcomer_meets_nodes_from_every_part_of_the_network() {
    let mut network = VirtualNetwork::joined(11, 120);
    let newcomer = network.add(KadConfig::default(), true);
    network.join(newcomer, 0);
    network.run_for(FIRST_MINUTE);
    let own_id = network.contact(newcomer).node_id;
    let others: Vec<Contact> = (0..newcomer).map(|node| network.contact(node)).collect();
    let known = per_bucket(own_id, &network.machine(newcomer).contacts());
    for (bucket, there_are) in per_bucket(own_id, &others) {
        let known = known.get(&bucket).copied().unwrap_or(0);
        let room = KadConfig::default().k.get();
        assert_eq!(known, there_are.min(room), "bucket {bucket}");
    }
}

#[test]
fn newcomer_looks_into_one_bucket_after_the_other() {
    let mut network = VirtualNetwork::joined(12, 120);
    let newcomer = network.add(KadConfig::default(), true);
    network.join(newcomer, 0);
    let walked = network.machine(newcomer).stats().lookups;
    for _ in 0..1000 {
        network.run_for(Duration::from_millis(10));
        let stats = network.machine(newcomer).stats();
        assert!(stats.operations <= 1, "{stats:?}");
    }
    assert!(network.machine(newcomer).stats().lookups > walked);
}

/// How many of them fall into each bucket of a node.
fn per_bucket(node_id: NodeId, others: &[Contact]) -> BTreeMap<usize, usize> {
    let own = Key::of_node(&node_id);
    let mut counts = BTreeMap::new();
    for other in others {
        let distance = own.distance(&Key::of_node(&other.node_id));
        *counts.entry(distance.bucket_index().unwrap()).or_default() += 1;
    }
    counts
}
