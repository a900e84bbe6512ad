//! Who holds a record while nodes die, answers are lost, and records are withdrawn.

use std::time::Duration;

use macula_dht::kad::KadConfig;
use macula_dht::message::Request;

use crate::virtual_network::{TTL, VirtualNetwork, service_key};

const SERVICES: u64 = 10;

fn service(index: u64) -> String {
    format!("a.n{index}")
}

#[test]
fn holders_are_back_to_their_number_after_one_refresh() {
    for seed in 0..3 {
        let mut network = VirtualNetwork::joined(seed, 60);
        for index in 0..SERVICES {
            network.announce(7, &service(index), 1).unwrap();
        }
        network.run_for(Duration::from_secs(5));
        for node in (0..60).step_by(5) {
            network.kill(node);
        }
        for index in 0..SERVICES {
            assert_eq!(network.providers(8, &service(index)), [7]);
        }
        network.run_for(TTL - Duration::from_secs(60));
        for index in 0..SERVICES {
            network.announce(7, &service(index), 2).unwrap();
        }
        network.run_for(Duration::from_secs(10));
        for index in 0..SERVICES {
            let holders = network.holders(&service(index));
            let refreshed = holders.iter().filter(|(_, seq)| *seq == 2).count();
            assert!(refreshed >= 8, "{refreshed} holders");
        }
    }
}

#[test]
fn refresh_after_the_one_that_replaced_a_holder_walks_no_more() {
    let mut network = VirtualNetwork::joined(21, 50);
    network.announce(7, "a.service", 1).unwrap();
    network.run_for(Duration::from_secs(5));
    let holders = network.holders("a.service");
    let lost = holders.iter().find(|(node, _)| *node != 7).unwrap().0;
    network.kill(lost);
    network.announce(7, "a.service", 2).unwrap();
    network.run_for(Duration::from_secs(10));
    let before = network.machine(7).stats();
    network.announce(7, "a.service", 3).unwrap();
    network.run_for(Duration::from_secs(5));
    let after = network.machine(7).stats();
    assert_eq!(after.lookups, before.lookups, "walked again");
    let holders = network.holders("a.service");
    let refreshed = holders.iter().filter(|(_, seq)| *seq == 3).count();
    assert!(refreshed >= 8, "{refreshed} holders");
}

#[test]
fn announcement_waits_for_none_of_the_dead() {
    let mut network = VirtualNetwork::joined(22, 100);
    network.latency = 40..41;
    // Enough answers for an estimate of how long they take.
    network.find(7, "b.service").unwrap();
    for node in (0..100).step_by(10) {
        network.kill(node);
    }
    for index in 0..SERVICES {
        let started = network.now;
        let report = network.announce(7, &service(index), 1).unwrap();
        assert!(report.records[0].holders >= 5);
        let took = network.now - started;
        assert!(took < Duration::from_secs(1), "took {took:?}");
        network.run_for(Duration::from_secs(5));
    }
}

#[test]
fn holders_are_told_while_the_walk_still_runs() {
    let mut network = VirtualNetwork::joined(26, 100);
    network.latency = 40..41;
    for index in 0..SERVICES {
        let service = service(index);
        network.trace.clear();
        network.announce(7, &service, 1).unwrap();
        network.run_for(Duration::from_secs(5));
        let key = service_key(&service);
        let walks = format!(" {:?}", Request::FindNode { key });
        let sent = |what: &str| -> Vec<usize> {
            let lines = network.trace.iter().enumerate();
            let is_from_7 = |line: &str| line.split(' ').nth(1) == Some("7");
            let sent = lines.filter(|(_, line)| is_from_7(line) && line.contains(what));
            sent.map(|(position, _)| position).collect()
        };
        let (first_store, last_step) = (sent(" Store {")[0], *sent(&walks).last().unwrap());
        assert!(first_store < last_step, "told nobody before the walk ended");
    }
}

#[test]
fn announcement_waits_for_none_of_the_closest_that_do_not_acknowledge() {
    let mut network = VirtualNetwork::joined(27, 100);
    network.latency = 40..41;
    for index in 0..SERVICES {
        let mut closest = network.closest_nodes(&service(index));
        closest.retain(|node| *node != 7);
        network.mute = closest[..3].iter().copied().collect();
        let started = network.now;
        let report = network.announce(7, &service(index), 1).unwrap();
        assert!(report.records[0].holders >= 5);
        let took = network.now - started;
        assert!(took < Duration::from_secs(1), "took {took:?}");
        network.run_for(Duration::from_secs(5));
    }
}

#[test]
fn record_is_held_by_the_closest_and_by_few_others() {
    let mut network = VirtualNetwork::joined(23, 100);
    for index in 0..SERVICES {
        network.announce(7, &service(index), 1).unwrap();
        network.run_for(Duration::from_secs(5));
        let mut closest = network.closest_nodes(&service(index));
        closest.truncate(8);
        let holders = network.holders(&service(index));
        let near = holders.iter().filter(|(node, _)| closest.contains(node));
        assert_eq!(near.count(), 8, "one of the closest was not told");
        // The provider keeps its own record, close or not.
        assert!(holders.len() <= 8 + 1 + 2, "{} holders", holders.len());
    }
}

#[test]
fn refresh_tells_no_more_holders_the_more_newcomers_have_come_closer() {
    let mut network = VirtualNetwork::joined(28, 40);
    let refresh_interval = Duration::from_secs(20);
    let provider = network.add(
        KadConfig {
            refresh_interval,
            ..KadConfig::default()
        },
        true,
    );
    network.join(provider, 0);
    network.announce(provider, "a.service", 1).unwrap();
    for seq in 2..6 {
        for _ in 0..10 {
            let newcomer = network.add(KadConfig::default(), true);
            network.join(newcomer, 0);
        }
        // Long enough for the refresh to walk.
        network.run_for(refresh_interval * 4);
        network.announce(provider, "a.service", seq).unwrap();
        network.run_for(Duration::from_secs(5));
    }
    network.trace.clear();
    network.announce(provider, "a.service", 6).unwrap();
    network.run_for(Duration::from_secs(5));
    let from_provider = format!(" {provider} ");
    let is_store = |line: &&String| line.contains(&from_provider) && line.contains(" Store {");
    let told = network.trace.iter().filter(is_store).count();
    assert!((7..=8).contains(&told), "{told} told");
}

#[test]
fn withdrawal_reaches_holders_whose_acknowledgement_was_lost() {
    let mut network = VirtualNetwork::joined(24, 50);
    let mut closest = network.closest_nodes("a.service");
    closest.retain(|node| *node != 7);
    network.mute.extend(&closest[..3]);
    network.announce(7, "a.service", 1).unwrap();
    network.run_for(Duration::from_secs(5));
    let unheard = network.mute.clone();
    let holders = network.holders("a.service");
    let told = holders.iter().filter(|(node, _)| unheard.contains(node));
    assert!(told.count() > 0, "the test tests nothing");
    network.mute.clear();
    network.withdraw(7, "a.service", 1).unwrap();
    assert_eq!(network.holders("a.service"), []);
}

#[test]
fn withdrawal_reaches_holders_that_newcomers_have_pushed_aside() {
    let mut network = VirtualNetwork::joined(26, 40);
    network.announce(7, "a.service", 1).unwrap();
    network.run_for(Duration::from_secs(5));
    let mut old = network.holders("a.service");
    old.retain(|(node, _)| *node != 7);
    for _ in 0..120 {
        let newcomer = network.add(KadConfig::default(), true);
        network.join(newcomer, 0);
    }
    let (lost, _) = old.remove(0);
    network.kill(lost);
    network.announce(7, "a.service", 2).unwrap();
    network.run_for(Duration::from_secs(10));
    let mut closest = network.closest_nodes("a.service");
    // As far as the walk of the withdrawal sees.
    closest.truncate(KadConfig::default().k.get());
    let holders = network.holders("a.service");
    let is_stray = |(node, _): &&(usize, u64)| {
        let was_told = old.iter().any(|(other, _)| other == node);
        was_told && !closest.contains(node)
    };
    let strays = holders.iter().filter(is_stray).count();
    assert!(strays > 0, "the test tests nothing");
    network.withdraw(7, "a.service", 2).unwrap();
    assert_eq!(network.holders("a.service"), []);
}

#[test]
fn withdrawal_overtakes_an_announcement_under_way() {
    let mut network = VirtualNetwork::joined(25, 50);
    for delay in [0, 20, 40, 60, 100, 150, 200, 300] {
        let service = service(delay);
        network.begin_announce(7, &service);
        network.run_for(Duration::from_millis(delay));
        network.withdraw(7, &service, 1).unwrap();
        network.run_for(Duration::from_secs(10));
        assert_eq!(network.holders(&service), [], "after {delay} ms");
        assert_eq!(network.providers(3, &service), []);
        assert_eq!(network.machine(7).stats().operations, 0);
    }
}

#[test]
fn newer_record_overtakes_an_announcement_of_the_older_one() {
    let mut network = VirtualNetwork::joined(25, 50);
    for delay in [0, 20, 40, 60, 100, 150, 200, 300] {
        let service = service(delay);
        network.begin_announce(7, &service);
        network.run_for(Duration::from_millis(delay));
        network.announce(7, &service, 2).unwrap();
        network.run_for(Duration::from_secs(10));
        let holders = network.holders(&service);
        let outdated = holders.iter().filter(|(_, seq)| *seq == 1).count();
        assert_eq!(outdated, 0, "after {delay} ms");
        let before = network.machine(7).stats();
        assert_eq!(before.operations, 0);
        network.announce(7, &service, 3).unwrap();
        let after = network.machine(7).stats();
        assert_eq!(after.lookups, before.lookups, "a holder was given up");
    }
}

#[test]
fn withdrawn_provider_is_not_seen_two_seconds_later_whatever_is_lost() {
    let (mut finds, mut seen) = (0, 0);
    for seed in 30..32 {
        let mut network = VirtualNetwork::joined(seed, 60);
        network.loss = 0.02;
        for index in 0..SERVICES {
            network.announce(7, &service(index), 1).unwrap();
        }
        network.run_for(Duration::from_secs(30));
        for node in (0..60).step_by(10) {
            network.kill(node);
        }
        for index in 0..SERVICES {
            network.withdraw(7, &service(index), 1).unwrap();
            network.run_for(Duration::from_secs(2));
            for reader in [3, 8, 13, 18, 28, 37, 44, 59] {
                finds += 1;
                let found = network.find(reader, &service(index)).unwrap();
                seen += usize::from(!found.providers.is_empty());
            }
        }
    }
    assert!(seen * 100 <= finds, "seen by {seen} of {finds}");
}
