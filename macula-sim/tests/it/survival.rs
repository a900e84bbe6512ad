//! Networks that lose nodes, links or honesty go on finding.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use macula_core::Key;
use macula_dht::kad::{Ask, KadConfig, Search};
use macula_sim::{
    Churn, FindFigures, Finds, Lies, Network, NetworkConfig, Population, Report, Scenario,
    Simulation,
};

use crate::run;

#[test]
fn network_whose_nodes_come_and_go_keeps_finding() {
    let report = run(&Scenario {
        churn: Some(Churn::default()),
        population: Population {
            dead_contacts: 0.1,
            ..Population::default()
        },
        nodes: 150,
        duration: Duration::from_secs(1200),
        finds: 400,
        services: 40,
        ..Scenario::default()
    });
    assert!(report.departed > 5, "{report}");
    assert!(report.alive.abs_diff(150) < 15, "{report}");
    assert!(report.refresh.announced > 100, "{report}");
    assert!(report.success.ratio >= 0.99, "{report}");
    let withdraw = &report.withdraw;
    assert!(withdraw.finds >= 300, "{report}");
    assert!(withdraw.failed <= withdraw.finds / 100, "{report}");
    assert_eq!(withdraw.still_found, 0, "{report}");
}

#[test]
fn records_outlive_a_fifth_of_the_nodes_and_get_their_holders_back() {
    for seed in 1..=2 {
        let report = run(&Scenario {
            seed,
            nodes: 100,
            services: 30,
            kill: 0.2,
            duration: Duration::from_secs(1200),
            ..Scenario::default()
        });
        assert_eq!(report.killed, 20);
        let finds = phase(&report, "after the kill");
        assert_eq!(finds.found, finds.finds, "{report}");
        let holders: Vec<f64> = report.holders.iter().map(|at| at.holders.mean).collect();
        // All records were refreshed since: with their provider, eight hold them again.
        assert!(holders[8] >= 7.0, "{report}");
        let last = report.holders.last().unwrap();
        assert!(last.holders.min >= 7, "{report}");
    }
}

#[test]
fn halves_of_a_split_network_serve_what_they_have_and_heal() {
    for seed in 1..=3 {
        split_and_heal(&Scenario {
            seed,
            nodes: 60,
            services: 20,
            ..Scenario::default()
        });
    }
}

fn split_and_heal(scenario: &Scenario) {
    println!("{scenario:?}");
    let mut simulation = Simulation::new(scenario).unwrap();
    simulation.join().unwrap();
    simulation.announce().unwrap();
    simulation.network().split(TWO);
    let split = simulation.find("split", finds(100)).unwrap();
    assert!(split.right >= 95, "{}", simulation.report());
    // Until the last of the other half has lost its place, and what it held has expired.
    for _ in 0..20 {
        simulation.rest(REFRESH).unwrap();
        if known_across(simulation.network()) == 0 {
            break;
        }
    }
    assert_eq!(known_across(simulation.network()), 0);
    let apart = simulation.find("apart", finds(100)).unwrap();
    assert_eq!(apart.right, 100, "{}", simulation.report());
    simulation.network().heal();
    simulation.rest(REFRESH * 2).unwrap();
    let healed = simulation.find("healed", finds(300)).unwrap();
    assert_eq!(healed.right, 300, "{}", simulation.report());
}

/// How many contacts nodes have in the other part of a split network.
fn known_across(network: &Network) -> usize {
    let of = |node| {
        let contacts = network.contacts(node).unwrap();
        let peers = contacts.iter().filter_map(|peer| network.index_of(peer));
        let across = peers.filter(|peer| network.group(*peer) != network.group(node));
        across.count()
    };
    (0..network.len()).map(of).sum()
}

#[test]
fn lookups_set_off_few_pings() {
    let config = NetworkConfig {
        kad: KadConfig {
            refresh_interval: REFRESH * 1_000,
            ..KadConfig::default()
        },
        ..network_config(1_000)
    };
    let mut network = Network::new(&config).unwrap();
    network.join_synthetically();
    network.run_for(Duration::from_secs(60)).unwrap();
    for node in 0..250 {
        let search = Search {
            key: Key::from_bytes([node; 32]),
            want: NonZeroUsize::MAX,
            timeout: Duration::from_secs(5),
            ask: Ask::Network,
            trace: false,
        };
        network.find(usize::from(node), search).unwrap();
    }
    network.run_for(REFRESH).unwrap();
    let traffic = network.traffic();
    let others = traffic.requests - traffic.pings;
    assert!(traffic.pings < others / 4, "{traffic:?}");
}

#[test]
fn node_that_lost_all_contacts_finds_back() {
    let mut network = joined(20);
    network.run_for(REFRESH).unwrap();
    assert!(contacts(&network, 19) >= 10);
    network.split(EACH_ALONE);
    network.run_for(REFRESH * 4).unwrap();
    assert_eq!(contacts(&network, 19), 0);
    network.heal();
    network.run_for(Duration::from_secs(60)).unwrap();
    assert!(contacts(&network, 19) >= 10);
}

#[test]
fn node_that_starts_cut_off_joins_by_its_bootstrap_peer() {
    let mut network = joined(19);
    network.split(EACH_ALONE);
    // It never knew anybody else whom it could dial.
    network.join(19, &[0]);
    network.run_for(REFRESH * 4).unwrap();
    assert_eq!(contacts(&network, 19), 0);
    network.heal();
    network.run_for(Duration::from_secs(60)).unwrap();
    assert!(contacts(&network, 19) >= 10);
}

/// A network of twenty nodes; so many have joined by the first one.
fn joined(count: usize) -> Network {
    let mut network = Network::new(&network_config(20)).unwrap();
    for node in 1..count {
        network.join(node, &[0]);
        network.run_for(Duration::from_secs(1)).unwrap();
    }
    network
}

fn contacts(network: &Network, node: usize) -> usize {
    network.stats(node).unwrap().contacts
}

#[test]
fn finds_mostly_succeed_among_a_tenth_of_liars() {
    for lies in [
        Lies::Mixed,
        Lies::Strangers,
        Lies::Accomplices,
        Lies::Ignorance,
        Lies::Forgetting,
    ] {
        let report = run(&Scenario {
            population: Population {
                liars: 0.1,
                lies,
                ..Population::default()
            },
            ..Scenario::default()
        });
        assert!(report.success.ratio >= 0.95, "{lies:?}: {report}");
    }
}

#[test]
fn clients_and_unreachable_nodes_find_and_announce_and_are_in_no_table() {
    let scenario = Scenario {
        population: Population {
            clients: 0.4,
            unreachable: 0.2,
            ..Population::default()
        },
        ..Scenario::default()
    };
    let mut simulation = Simulation::new(&scenario).unwrap();
    simulation.join().unwrap();
    let announced = simulation.announce().unwrap();
    assert_eq!(announced.announced, announced.records);
    let figures = simulation.find("all", finds(200)).unwrap();
    assert_eq!(figures.right, 200, "{}", simulation.report());
    let network = simulation.network();
    let servers = (0..network.len()).filter(|node| network.is_server(*node));
    assert!(servers.count().abs_diff(80) < 20);
    for node in 0..network.len() {
        for contact in network.contacts(node).unwrap() {
            let peer = network.index_of(&contact).unwrap();
            assert!(network.is_server(peer), "{node} knows {peer}");
        }
    }
}

const REFRESH: Duration = Duration::from_secs(300);

const TWO: NonZeroU64 = NonZeroU64::MIN.saturating_add(1);

/// So many parts that each node is alone in its own.
const EACH_ALONE: NonZeroU64 = NonZeroU64::MAX;

fn phase<'a>(report: &'a Report, name: &str) -> &'a FindFigures {
    let phase = report.finds.iter().find(|finds| finds.phase == name);
    phase.unwrap_or_else(|| panic!("no phase {name}: {report}"))
}

fn finds(count: u32) -> Finds {
    Finds {
        count,
        over: Duration::from_secs(10),
        want: Some(NonZeroUsize::MIN),
        absent: 0.0,
    }
}

fn network_config(nodes: usize) -> NetworkConfig {
    NetworkConfig {
        nodes,
        ..NetworkConfig::default()
    }
}
