//! What it costs to announce, refresh and withdraw many services of one node.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use macula_core::Key;
use macula_dht::DhtError;
use macula_dht::kad::{KadConfig, KadStats};

use crate::virtual_network::{VirtualNetwork, neighbours, service_key};

const PROVIDER: usize = 7;

/// As many as fit a message.
const BATCH: usize = 64;

/// What a verb costs the provider, with all that it does behind.
fn cost(network: &mut VirtualNetwork, verb: impl FnOnce(&mut VirtualNetwork)) -> KadStats {
    let before = network.machine(PROVIDER).stats();
    verb(network);
    network.run_for(Duration::from_secs(10));
    let after = network.machine(PROVIDER).stats();
    KadStats {
        lookups: after.lookups - before.lookups,
        requests_sent: after.requests_sent - before.requests_sent,
        ..after
    }
}

fn announce(network: &mut VirtualNetwork, services: &[String], seq: u64) -> KadStats {
    cost(network, |network| {
        let report = network.announce_batch(PROVIDER, services, seq).unwrap();
        assert!(report.records.iter().all(|record| record.holders >= 5));
    })
}

/// The nodes other than the provider that hold any of the services.
fn holders(network: &mut VirtualNetwork, services: &[String]) -> BTreeSet<usize> {
    let mut holders = BTreeSet::new();
    for service in services {
        holders.extend(network.holders(service).into_iter().map(|(node, _)| node));
    }
    holders.remove(&PROVIDER);
    holders
}

#[test]
fn records_of_neighbours_cost_few_walks_and_are_held_by_the_closest() {
    for (seed, nodes) in [(0, 100), (1, 40)] {
        let mut network = VirtualNetwork::joined(seed, nodes);
        let services = neighbours(BATCH, 1000);
        let cost = announce(&mut network, &services, 1);
        assert!(cost.lookups <= 4, "{} walks", cost.lookups);
        assert!(cost.requests_sent <= 200, "{} sent", cost.requests_sent);
        for service in &services {
            let mut closest = network.closest_nodes(service);
            closest.truncate(8);
            let holders = network.holders(service);
            let near = holders.iter().filter(|(node, _)| closest.contains(node));
            assert_eq!(near.count(), 8, "one of the closest was not told");
            assert!(holders.len() <= 8 + 1 + 2, "{} holders", holders.len());
        }
    }
}

#[test]
fn refresh_of_neighbours_is_one_message_to_each_holder() {
    let mut network = VirtualNetwork::joined(3, 60);
    let services = neighbours(BATCH, 1000);
    announce(&mut network, &services, 1);
    for seq in 2..4 {
        let holders = holders(&mut network, &services);
        let cost = announce(&mut network, &services, seq);
        assert_eq!(cost.lookups, 0, "walked again");
        assert_eq!(cost.requests_sent, holders.len() as u64);
    }
}

#[test]
fn holders_whose_answers_come_one_at_a_time_are_told_no_more_often() {
    let mut network = VirtualNetwork::joined(4, 60);
    let services = neighbours(5 * BATCH, 2000);
    announce(&mut network, &services, 1);
    network.latency = 5..400;
    let holders = holders(&mut network, &services);
    let cost = announce(&mut network, &services, 2);
    assert_eq!(cost.lookups, 0, "walked again");
    // The window opens over half a batch at least.
    let messages = (holders.len() * 2 * 5) as u64;
    assert!(
        cost.requests_sent <= messages,
        "{} sent",
        cost.requests_sent
    );
}

#[test]
fn lost_holder_of_a_batch_is_replaced_by_few_walks() {
    let mut network = VirtualNetwork::joined(5, 60);
    let services = neighbours(BATCH, 1000);
    announce(&mut network, &services, 1);
    let lost = *holders(&mut network, &services).first().unwrap();
    network.kill(lost);
    let cost = announce(&mut network, &services, 2);
    assert!(cost.lookups <= 4, "{} walks", cost.lookups);
    for service in &services {
        let holders = network.holders(service);
        let refreshed = holders.iter().filter(|(_, seq)| *seq == 2);
        assert!(refreshed.count() >= 8, "a holder is missing");
    }
}

#[test]
fn withdrawals_of_neighbours_cost_few_walks_and_leave_no_holder() {
    let mut network = VirtualNetwork::joined(6, 60);
    let services = neighbours(BATCH, 1000);
    announce(&mut network, &services, 1);
    let cost = cost(&mut network, |network| {
        network.withdraw_batch(PROVIDER, &services, 1).unwrap();
    });
    assert!(cost.lookups <= 4, "{} walks", cost.lookups);
    assert!(cost.requests_sent <= 200, "{} sent", cost.requests_sent);
    assert_eq!(holders(&mut network, &services), BTreeSet::new());
}

#[test]
fn record_alone_is_walked_for_and_told_at_once_whatever_others_saw() {
    let mut network = VirtualNetwork::joined(7, 60);
    let mut services = neighbours(BATCH + 1, 1000);
    let alone = services.pop().unwrap();
    network.announce_batch(PROVIDER, &services, 1).unwrap();
    let before = network.machine(PROVIDER).stats();
    network.announce(PROVIDER, &alone, 1).unwrap();
    let after = network.machine(PROVIDER).stats();
    assert_eq!(after.lookups - before.lookups, 1);
    assert_eq!(after.walks_shared, before.walks_shared);
}

#[test]
fn keys_far_apart_are_walked_to_at_once() {
    let mut network = VirtualNetwork::joined(8, 100);
    let services = neighbours(1000, 1000);
    // One in each eighth of the space.
    let eighths = (0..8).map(|eighth| {
        let of_eighth = |service: &&String| service_key(service).as_bytes()[0] >> 5 == eighth;
        services.iter().find(of_eighth).unwrap().clone()
    });
    let eighths: Vec<String> = eighths.collect();
    let before = network.machine(PROVIDER).stats().lookups;
    let started = network.now;
    network.announce_batch(PROVIDER, &eighths, 1).unwrap();
    let lookups = network.machine(PROVIDER).stats().lookups - before;
    assert_eq!(lookups, 8);
    let took = network.now - started;
    assert!(took < Duration::from_secs(1), "took {took:?}");
}

#[test]
fn network_smaller_than_a_walk_is_walked_once() {
    let mut network = VirtualNetwork::joined(9, 12);
    let services = neighbours(BATCH, BATCH);
    let cost = announce(&mut network, &services, 1);
    assert_eq!(cost.lookups, 1);
    for service in &services {
        let mut closest = network.closest_nodes(service);
        closest.truncate(8);
        let holders = network.holders(service);
        assert!(closest.iter().all(|node| holders.contains(&(*node, 1))));
    }
}

#[test]
fn neighbours_have_their_holders_though_many_of_the_closest_are_dead() {
    for seed in 10..12 {
        let mut network = VirtualNetwork::joined(seed, 60);
        for node in (0..60).filter(|node| node % 3 == 0) {
            network.kill(node);
        }
        let services = neighbours(BATCH, 1000);
        announce(&mut network, &services, 1);
        for service in &services {
            let mut closest = network.closest_nodes(service);
            closest.truncate(8);
            let holders = network.holders(service);
            let near = holders.iter().filter(|(node, _)| closest.contains(node));
            assert!(near.count() >= 7, "the closest were not told");
        }
    }
}

#[test]
fn batch_of_a_node_that_is_cut_off_fails_in_time() {
    let mut network = VirtualNetwork::joined(13, 60);
    for node in (0..60).filter(|node| *node != PROVIDER) {
        network.kill(node);
    }
    let started = network.now;
    let services = neighbours(BATCH, 1000);
    let result = network.announce_batch(PROVIDER, &services, 1);
    assert_eq!(result.err(), Some(DhtError::Unreachable));
    let took = network.now - started;
    let walk = KadConfig::default().walk_timeout;
    // Two walks that the others wait for, and then eight at once.
    assert!(took <= walk * (2 + 8), "took {took:?}");
}

#[test]
fn batches_that_follow_each_other_share_walks() {
    let mut network = VirtualNetwork::joined(14, 60);
    let services = neighbours(4 * BATCH, 4000);
    let mut walks = 0;
    for batch in services.chunks(BATCH) {
        let before = network.machine(PROVIDER).stats().lookups;
        network.announce_batch(PROVIDER, batch, 1).unwrap();
        walks += network.machine(PROVIDER).stats().lookups - before;
    }
    assert!(walks <= 4, "{walks} walks");
}

#[test]
fn batch_leaves_nothing_behind_when_its_records_have_their_holders_already() {
    let one = NonZeroUsize::MIN;
    let config = KadConfig {
        k: NonZeroUsize::new(4).unwrap(),
        replication: one,
        quorum: one,
        ..KadConfig::default()
    };
    let mut network = VirtualNetwork::new(15);
    for node in 0..20 {
        network.add(config.clone(), true);
        if node > 0 {
            network.join(node, 0);
        }
    }
    // The provider itself is closest to each of them.
    let own = Key::of_node(&network.contact(PROVIDER).node_id);
    let mut services = neighbours(4000, 4000);
    services.sort_by_key(|service| service_key(service).distance(&own));
    announce_alone(&mut network, &services[..2]);
    let before = network.machine(PROVIDER).stats();
    announce_alone(&mut network, &services[2..4]);
    let after = network.machine(PROVIDER).stats();
    assert_eq!(after.lookups, before.lookups, "the test tests nothing");
    assert_eq!(after.operations, 0);
}

/// Announces to nobody but the provider itself.
fn announce_alone(network: &mut VirtualNetwork, services: &[String]) {
    let report = network.announce_batch(PROVIDER, services, 1).unwrap();
    assert!(report.records.iter().all(|record| record.holders == 1));
    network.run_for(Duration::from_secs(1));
}
