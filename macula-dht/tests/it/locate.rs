//! Nodes are found by their ids.

use macula_core::{NodeId, SecretKey};
use macula_dht::kad::{KadConfig, Kademlia};
use macula_dht::{Dht, DhtError};

use crate::node::{in_time, servers};
use crate::virtual_network::VirtualNetwork;

const NODES: usize = 120;

fn knows(machine: &Kademlia, node_id: &NodeId) -> bool {
    let mut contacts = machine.contacts().into_iter();
    contacts.any(|contact| contact.node_id == *node_id)
}

#[test]
fn every_node_is_located_by_one_that_does_not_know_it() {
    let mut network = VirtualNetwork::joined(21, NODES);
    // One that only dials keeps the contacts of its way in.
    let seeker = network.add(KadConfig::default(), false);
    network.join(seeker, 0);
    let mut strangers: Vec<_> = (0..NODES).map(|node| network.contact(node)).collect();
    strangers.retain(|contact| !knows(network.machine(seeker), &contact.node_id));
    assert!(strangers.len() > NODES / 2, "{}", strangers.len());
    for contact in strangers {
        let located = network.locate(seeker, contact.node_id);
        assert_eq!(located, Ok(Some(contact)));
    }
}

#[test]
fn an_id_that_nobody_has_is_located_nowhere() {
    let mut network = VirtualNetwork::joined(22, 30);
    let nobody = SecretKey::from_bytes(&[99; SecretKey::LEN_BYTES]).node_id();
    assert_eq!(network.locate(3, nobody), Ok(None));
    let only_dials = network.add(KadConfig::default(), false);
    network.join(only_dials, 0);
    let only_dials = network.contact(only_dials).node_id;
    assert_eq!(network.locate(3, only_dials), Ok(None));
}

#[test]
fn a_node_that_has_just_died_is_located_where_it_was() {
    let mut network = VirtualNetwork::joined(23, 10);
    network.kill(4);
    let dead = network.contact(4);
    assert_eq!(network.locate(7, dead.node_id), Ok(Some(dead)));
}

#[test]
fn whoever_knows_nobody_cannot_ask() {
    let mut network = VirtualNetwork::joined(24, 1);
    let other = SecretKey::from_bytes(&[99; SecretKey::LEN_BYTES]).node_id();
    assert_eq!(network.locate(0, other), Err(DhtError::Unreachable));
}

#[test]
fn a_node_is_located_although_messages_are_lost_and_others_are_dead() {
    for seed in 0..8 {
        let mut network = VirtualNetwork::joined(seed, 60);
        for node in (0..60).step_by(5) {
            network.kill(node);
        }
        network.loss = 0.05;
        let sought = network.contact(31);
        let located = network.locate(58, sought.node_id).unwrap();
        assert_eq!(located, Some(sought), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_driver_locates_the_nodes_of_its_network() {
    let (_network, nodes) = servers(4).await;
    let patience = std::time::Duration::from_secs(5);
    for sought in &nodes {
        let node_id = sought.secret_key.node_id();
        let located = in_time(nodes[0].dht.locate(node_id, patience)).await;
        let addresses = sought.endpoint.addresses();
        let is_itself = node_id == nodes[0].secret_key.node_id();
        let expected = (!is_itself).then_some(addresses);
        assert_eq!(located.unwrap().map(|it| it.addresses), expected);
    }
}
