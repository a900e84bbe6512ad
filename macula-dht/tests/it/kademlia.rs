//! The machine among its like: announce, find, withdraw, expire, join.

use std::time::Duration;

use macula_core::DialTarget;
use macula_dht::kad::{Ask, KadConfig, StoreConfig};
use macula_dht::message::LiveRecord;
use macula_dht::{DhtError, FindOutcome};

use crate::virtual_network::{TTL, VirtualNetwork};

#[test]
fn lone_node_finds_what_it_announces() {
    let mut network = VirtualNetwork::joined(1, 1);
    let report = network.announce(0, "a.service", 1).unwrap();
    assert_eq!(report.records[0].holders, 1);
    assert_eq!(network.providers(0, "a.service"), [0]);
    network.withdraw(0, "a.service", 1).unwrap();
    assert_eq!(network.find(0, "a.service"), Err(DhtError::Unreachable));
}

#[test]
fn node_cut_off_from_its_bootstrap_peers_says_so() {
    let mut network = VirtualNetwork::new(2);
    for _ in 0..2 {
        network.add(KadConfig::default(), true);
    }
    network.kill(0);
    assert_eq!(network.join(1, 0), 0);
    let unreachable = Some(DhtError::Unreachable);
    assert_eq!(network.announce(1, "a.service", 1).err(), unreachable);
    assert_eq!(network.withdraw(1, "b.service", 1).err(), unreachable);
    assert_eq!(network.find(1, "b.service").err(), unreachable);
    assert_eq!(network.providers(1, "a.service"), [1]);
}

#[test]
fn node_that_reaches_none_of_its_contacts_does_not_count_as_a_holder() {
    let mut network = VirtualNetwork::joined(3, 3);
    network.kill(0);
    network.kill(1);
    assert_eq!(
        network.announce(2, "a.service", 1).err(),
        Some(DhtError::Unreachable)
    );
}

#[test]
fn node_whose_last_peer_fell_silent_is_cut_off_until_that_is_back() {
    let mut network = VirtualNetwork::joined(18, 2);
    network.kill(1);
    network.run_for(KadConfig::default().refresh_interval * 2);
    assert_eq!(network.machine(0).stats().contacts, 0);
    let unreachable = Some(DhtError::Unreachable);
    assert_eq!(network.announce(0, "a.service", 1).err(), unreachable);
    network.revive(1);
    network.run_for(Duration::from_secs(60));
    let report = network.announce(0, "a.service", 2).unwrap();
    assert_eq!(report.records[0].holders, 2);
}

#[test]
fn node_whose_last_peer_has_left_is_a_network_of_one() {
    let mut network = VirtualNetwork::joined(19, 2);
    let departed = network.contact(1);
    network.kill(1);
    let now = network.now;
    network.machine(0).handle_departed(now, &departed.node_id);
    let report = network.announce(0, "a.service", 1).unwrap();
    assert_eq!(report.records[0].holders, 1);
}

#[test]
fn departed_node_is_asked_no_more_and_stood_in_for() {
    let mut network = VirtualNetwork::joined(3, 3);
    network.announce(0, "a.service", 1).unwrap();
    let departed = network.contact(1);
    network.kill(1);
    let now = network.now;
    for node in [0, 2] {
        network
            .machine(node)
            .handle_departed(now, &departed.node_id);
        network.machine(node).check_invariants();
        assert!(!network.machine(node).contacts().contains(&departed));
    }
    let report = network.announce(0, "a.service", 2).unwrap();
    assert_eq!(report.records[0].holders, 2);
    network.withdraw(0, "a.service", 2).unwrap();
    let failed = network.machine(0).stats().requests_failed;
    assert_eq!(failed, 0, "nobody asked the departed node");
}

#[test]
fn two_and_three_nodes_find_each_others_providers() {
    for count in [2, 3] {
        let mut network = VirtualNetwork::joined(3, count);
        for node in 0..count {
            let report = network.announce(node, "a.service", 1).unwrap();
            assert_eq!(report.records[0].holders, count);
        }
        let everyone: Vec<usize> = (0..count).collect();
        for node in 0..count {
            assert_eq!(network.providers(node, "a.service"), everyone);
            let absent = network.find(node, "b.service").unwrap();
            assert_eq!(absent.outcome, FindOutcome::Absent);
        }
        network.withdraw(0, "a.service", 1).unwrap();
        for node in 0..count {
            assert_eq!(network.providers(node, "a.service"), everyone[1..]);
        }
    }
}

#[test]
fn providers_are_found_replaced_and_withdrawn_in_a_network_of_fifty() {
    for seed in 0..3 {
        let mut network = VirtualNetwork::joined(seed, 50);
        for provider in [7, 23, 41] {
            let report = network.announce(provider, "a.service", 1).unwrap();
            assert!((5..=8).contains(&report.records[0].holders));
        }
        network.announce(23, "a.service", 2).unwrap();
        for reader in 0..50 {
            assert_eq!(network.providers(reader, "a.service"), [7, 23, 41]);
        }
        network.withdraw(23, "a.service", 2).unwrap();
        for reader in 0..50 {
            assert_eq!(network.providers(reader, "a.service"), [7, 41]);
        }
        let found = network.find(3, "b.service").unwrap();
        assert_eq!(found.outcome, FindOutcome::Absent);
    }
}

#[test]
fn provider_is_found_until_its_record_expires_and_not_after() {
    let mut network = VirtualNetwork::joined(4, 50);
    network.announce(7, "a.service", 1).unwrap();
    network.run_for(TTL - Duration::from_secs(1));
    assert_eq!(network.providers(3, "a.service"), [7]);
    network.run_for(Duration::from_secs(1));
    for reader in 0..50 {
        assert_eq!(network.providers(reader, "a.service"), []);
    }
    for node in 0..50 {
        assert_eq!(network.machine(node).stats().records, 0);
    }
}

#[test]
fn replayed_record_gains_no_life_and_comes_back_from_nowhere() {
    let mut network = VirtualNetwork::joined(5, 12);
    let record = network.record(7, "a.service", 1);
    let life = TTL;
    let replay = vec![LiveRecord { record, life }];
    network.announce_all(7, replay.clone()).unwrap();
    network.run_for(TTL / 2);
    network.announce_all(7, replay.clone()).unwrap();
    network.run_for(TTL / 2);
    assert_eq!(network.providers(3, "a.service"), []);
    let rejected = network.announce_all(7, replay).err();
    assert_eq!(rejected, Some(DhtError::Rejected));
    assert_eq!(network.providers(3, "a.service"), []);
}

#[test]
fn refresh_asks_only_the_remembered_holders() {
    let mut network = VirtualNetwork::joined(6, 50);
    network.announce(7, "a.service", 1).unwrap();
    network.run_for(Duration::from_secs(5));
    let before = network.machine(7).stats();
    network.announce(7, "a.service", 2).unwrap();
    network.run_for(Duration::from_secs(5));
    let after = network.machine(7).stats();
    assert_eq!(after.lookups, before.lookups, "walked again");
    assert!(after.requests_sent - before.requests_sent <= 8);
    let found = network.find(3, "a.service").unwrap();
    assert_eq!(found.providers[0].record.seq(), 2);
}

#[test]
fn hundreds_of_records_are_refreshed_with_many_in_a_message() {
    let mut network = VirtualNetwork::joined(7, 3);
    let records = |network: &VirtualNetwork, seq| {
        let names = (0..500).map(|i| format!("a.n{i}"));
        let records = names.map(|name| LiveRecord {
            record: network.record(1, &name, seq),
            life: TTL,
        });
        records.collect::<Vec<_>>()
    };
    let first = records(&network, 1);
    let report = network.announce_all(1, first).unwrap();
    assert!(report.records.iter().all(|record| record.holders == 3));
    let before = network.machine(1).stats().requests_sent;
    let second = records(&network, 2);
    network.announce_all(1, second).unwrap();
    let sent = network.machine(1).stats().requests_sent - before;
    assert_eq!(sent, 2 * 500_u64.div_ceil(64));
    assert_eq!(network.providers(2, "a.n499"), [1]);
}

#[test]
fn record_out_of_its_time_fails_alone() {
    let mut network = VirtualNetwork::joined(1, 3);
    let live = |network: &VirtualNetwork, service: &str, life| LiveRecord {
        record: network.record(0, service, 1),
        life,
    };
    let over = live(&network, "a.over", Duration::ZERO);
    let alone = network.announce_all(0, vec![over.clone()]);
    assert_eq!(alone, Err(DhtError::Rejected));
    let fine = live(&network, "a.service", TTL);
    let report = network.announce_all(0, vec![over, fine]).unwrap();
    let holders: Vec<_> = report.records.iter().map(|record| record.holders).collect();
    assert_eq!(holders, [0, 3]);
    assert_eq!(network.find(1, "a.over").unwrap().providers, []);
}

#[test]
fn dead_holders_are_stood_in_for() {
    let mut network = VirtualNetwork::joined(8, 50);
    for node in 10..20 {
        network.kill(node);
    }
    let report = network.announce(7, "a.service", 1).unwrap();
    assert!(report.records[0].holders >= 5);
    for reader in (0..10).chain(20..50) {
        assert_eq!(network.providers(reader, "a.service"), [7]);
    }
}

#[test]
fn records_survive_the_death_of_a_fifth_of_the_nodes() {
    let mut network = VirtualNetwork::joined(9, 50);
    for service in 0..20 {
        network.announce(7, &format!("a.n{service}"), 1).unwrap();
    }
    for node in (0..50).step_by(5) {
        network.kill(node);
    }
    for service in 0..20 {
        assert_eq!(network.providers(8, &format!("a.n{service}")), [7]);
    }
}

#[test]
fn providers_are_found_despite_lost_messages() {
    let mut network = VirtualNetwork::joined(10, 50);
    network.loss = 0.1;
    network.announce(7, "a.service", 1).unwrap();
    let finds = (0..50).filter(|reader| network.providers(*reader, "a.service") == [7]);
    assert!(finds.count() >= 49);
}

#[test]
fn silence_is_not_taken_for_absence() {
    let mut network = VirtualNetwork::joined(11, 20);
    for node in 1..20 {
        network.kill(node);
    }
    let found = network.find(0, "a.service").unwrap();
    assert_eq!(found.outcome, FindOutcome::Inconclusive);
}

#[test]
fn full_holders_are_reported_to_the_publisher() {
    let mut network = VirtualNetwork::new(12);
    let config = KadConfig {
        store: StoreConfig {
            max_per_key: 2,
            ..StoreConfig::default()
        },
        ..KadConfig::default()
    };
    for node in 0..5 {
        network.add(config.clone(), true);
        if node > 0 {
            network.join(node, 0);
        }
    }
    network.run_for(Duration::from_secs(5));
    for node in 0..3 {
        network.announce(node, "a.service", 1).unwrap();
    }
    let report = network.announce(4, "a.service", 1).unwrap();
    assert_eq!(report.records[0].holders, 1, "only itself");
    assert_eq!(report.records[0].full, 4);
    let stats = network.machine(3).stats();
    assert_eq!((stats.records, stats.own_records), (2, 0));
}

#[test]
fn client_announces_and_finds_but_is_in_no_table() {
    let mut network = VirtualNetwork::joined(13, 10);
    let client = network.add(KadConfig::default(), false);
    assert!(network.join(client, 0) > 0);
    network.announce(3, "a.service", 1).unwrap();
    assert_eq!(network.providers(client, "a.service"), [3]);
    network.announce(client, "a.service", 1).unwrap();
    assert_eq!(network.providers(5, "a.service"), [3, client]);
    let client_id = network.machine(client).local().node_id;
    for node in 0..10 {
        let contacts = network.machine(node).contacts();
        assert!(contacts.iter().all(|contact| contact.node_id != client_id));
    }
    let stats = network.machine(client).stats();
    assert_eq!(
        (stats.records, stats.own_records, stats.answered),
        (0, 0, 0)
    );
}

#[test]
fn connected_find_asks_those_it_is_given_and_nobody_else() {
    let mut network = VirtualNetwork::joined(14, 30);
    network.announce(3, "a.service", 1).unwrap();
    let ask = Ask::Only(vec![network.contact(3), network.contact(4)]);
    let found = network.find_with(9, "a.service", ask).unwrap();
    assert_eq!(found.providers.len(), 1);
    assert_eq!((found.requests, found.hops), (2, 1));
    let nobody = network.find_with(9, "b.service", Ask::Only(Vec::new()));
    assert_eq!(nobody, Err(DhtError::Unreachable));
}

#[test]
fn node_that_lost_everybody_finds_back_through_its_bootstrap_peer() {
    let mut network = VirtualNetwork::new(15);
    for _ in 0..2 {
        network.add(KadConfig::default(), true);
    }
    network.kill(0);
    assert_eq!(network.join(1, 0), 0);
    network.revive(0);
    network.run_for(Duration::from_secs(60));
    assert_eq!(network.machine(1).stats().contacts, 1);
    network.announce(0, "a.service", 1).unwrap();
    assert_eq!(network.providers(1, "a.service"), [0]);
}

#[test]
fn node_that_lost_everybody_finds_back_through_a_bootstrap_peer_it_has_never_met() {
    // Several, lest a round of the maintenance falls into the minute each time.
    for seed in 31..36 {
        let mut network = VirtualNetwork::joined(seed, 6);
        assert!(network.machine(5).stats().contacts >= 4);
        let fresh = network.add(KadConfig::default(), true);
        for node in [0, 1, 2, 3, 4, fresh] {
            network.kill(node);
        }
        let target = DialTarget::from(network.contact(fresh));
        let now = network.now;
        network.machine(5).set_bootstrap(now, vec![target]);
        network.run_for(Duration::from_secs(1200));
        assert_eq!(network.machine(5).stats().contacts, 0);
        network.revive(fresh);
        network.run_for(Duration::from_secs(60));
        assert_eq!(network.machine(5).stats().contacts, 1);
        let report = network.announce(fresh, "a.service", 1).unwrap();
        assert_eq!(report.records[0].holders, 2);
        assert_eq!(network.providers(5, "a.service"), [fresh]);
    }
}

#[test]
fn same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut network = VirtualNetwork::joined(seed, 20);
        network.loss = 0.05;
        network.announce(7, "a.service", 1).unwrap();
        network.providers(3, "a.service");
        network.run_for(Duration::from_secs(900));
        std::mem::take(&mut network.trace)
    };
    assert_eq!(trace(16), trace(16));
    assert_ne!(trace(16), trace(17));
}
