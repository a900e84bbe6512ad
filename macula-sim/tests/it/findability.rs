//! What was announced is found, whatever happens to the network.

use std::num::NonZeroU64;
use std::time::Duration;

use macula_sim::{Connections, Faults, Join, Latency, Scenario};

use crate::run;

#[test]
fn every_announced_record_is_found_without_loss() {
    for seed in 1..=3 {
        let report = run(&Scenario {
            seed,
            ..Scenario::default()
        });
        assert_eq!(report.announce.announced, report.announce.records);
        let finds = &report.finds[0];
        assert_eq!((finds.found, finds.finds), (200, 200), "{report}");
    }
}

#[test]
fn services_that_nobody_provides_are_proved_absent() {
    let report = run(&Scenario {
        absent: 1.0,
        ..Scenario::default()
    });
    let finds = &report.finds[0];
    assert_eq!((finds.absent, finds.right), (200, 200), "{report}");
}

#[test]
fn finds_that_want_all_ask_until_nobody_closer_is_left() {
    let hasty = run(&Scenario::default());
    let thorough = run(&Scenario {
        want: None,
        ..Scenario::default()
    });
    let finds = &thorough.finds[0];
    assert_eq!((finds.found, finds.finds), (200, 200), "{thorough}");
    assert!(finds.requests.min >= 20, "{thorough}");
    assert!(hasty.finds[0].requests.mean < 20.0, "{hasty}");
}

#[test]
fn connections_that_have_to_be_made_first_take_longer() {
    let announced_in = |round_trips| {
        let report = run(&Scenario {
            nodes: 100,
            latency: Latency::constant(Duration::from_millis(40)),
            connections: Connections {
                round_trips,
                ..Connections::default()
            },
            ..Scenario::default()
        });
        report.announce.millis
    };
    let (warm, cold) = (announced_in(0), announced_in(2));
    // Two requests one after the other at least, of 80 ms each.
    assert!(warm.min >= 160, "{warm}");
    assert!(cold.p50 > warm.p50 * 3 / 2, "{cold} and {warm}");
}

#[test]
fn nodes_that_joined_one_after_the_other_find_everything() {
    let report = run(&Scenario {
        join: Join::Bootstrap,
        nodes: 100,
        ..Scenario::default()
    });
    assert_eq!(report.join.alone, 0, "{report}");
    let finds = &report.finds[0];
    assert_eq!((finds.found, finds.finds), (200, 200), "{report}");
}

#[test]
fn networks_of_two_and_three_nodes_find_everything() {
    for nodes in [2, 3] {
        let report = run(&Scenario {
            join: Join::Bootstrap,
            nodes,
            services: 10,
            ..Scenario::default()
        });
        assert_eq!(report.announce.announced, 10, "{report}");
        let finds = &report.finds[0];
        assert_eq!((finds.found, finds.finds), (200, 200), "{report}");
    }
}

#[test]
fn withdrawn_records_are_found_by_nobody() {
    let report = run(&Scenario {
        withdraw: 1.0,
        ..Scenario::default()
    });
    let withdraw = report.withdraw;
    assert_eq!((withdraw.withdrawn, withdraw.finds), (50, 200), "{report}");
    assert!(withdraw.acknowledged >= 50, "{report}");
    assert_eq!((withdraw.failed, withdraw.still_found), (0, 0), "{report}");
}

#[test]
fn every_lookup_ends_under_heavy_loss() {
    for seed in 1..=3 {
        let report = run(&Scenario {
            seed,
            faults: lossy(0.3),
            nodes: 150,
            ..Scenario::default()
        });
        assert!(report.traffic.lost > 1_000, "{report}");
        assert!(report.success.ratio > 0.95, "{report}");
    }
}

#[test]
fn messages_that_arrive_twice_and_late_do_no_harm() {
    for (loss, duplicates) in [(0.05, 0.1), (0.0, 1.0)] {
        let report = run(&Scenario {
            faults: Faults { loss, duplicates },
            nodes: 60,
            finds: 300,
            withdraw: 0.5,
            check_every: NonZeroU64::MIN.saturating_add(3),
            ..Scenario::default()
        });
        let (traffic, withdraw) = (&report.traffic, &report.withdraw);
        assert_eq!(report.announce.announced, report.announce.records);
        let sent = (traffic.requests + traffic.responses - traffic.lost) as f64;
        let share = traffic.duplicated as f64 / sent;
        assert!((share / duplicates - 1.0).abs() < 0.2, "{traffic:?}");
        assert!(report.success.ratio >= 0.99, "{report}");
        assert!(withdraw.unseen.cases >= 290, "{report}");
        assert_eq!(withdraw.still_found, 0, "{report}");
    }
}

#[test]
fn every_step_of_every_machine_keeps_its_invariants() {
    let report = run(&Scenario {
        nodes: 60,
        join: Join::Bootstrap,
        finds: 50,
        faults: lossy(0.2),
        check_every: NonZeroU64::MIN,
        ..Scenario::default()
    });
    assert!(report.events > 5_000, "{report}");
}

#[test]
fn every_lookup_ends_when_nothing_arrives() {
    let report = run(&Scenario {
        faults: lossy(1.0),
        ..Scenario::default()
    });
    assert_eq!(report.success.ratio, 0.0, "{report}");
    let holders = report.holders.iter().map(|at| at.holders.max);
    assert_eq!(holders.max(), Some(0), "{report}");
}

fn lossy(loss: f64) -> Faults {
    Faults {
        loss,
        ..Faults::default()
    }
}
