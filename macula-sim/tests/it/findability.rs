//! What was announced is found, whatever happens to the network.

use std::num::NonZeroU64;

use macula_sim::{Faults, Join, Report, Scenario};

#[test]
fn every_announced_record_is_found_without_loss() {
    for seed in 1..=3 {
        let report = run(&Scenario {
            seed,
            kill: 0.0,
            ..Scenario::default()
        });
        assert_eq!(report.announce.announced, report.announce.records);
        let finds = &report.finds[0];
        assert_eq!((finds.found, finds.finds), (200, 200), "{report}");
    }
}

#[test]
fn nodes_that_joined_one_after_the_other_find_everything() {
    let report = run(&Scenario {
        join: Join::Bootstrap,
        nodes: 100,
        kill: 0.0,
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
            records: 10,
            kill: 0.0,
            ..Scenario::default()
        });
        assert_eq!(report.announce.announced, 10, "{report}");
        let finds = &report.finds[0];
        assert_eq!((finds.found, finds.finds), (200, 200), "{report}");
    }
}

#[test]
fn records_stay_findable_when_a_fifth_of_the_nodes_dies() {
    for seed in 1..=3 {
        let report = run(&Scenario {
            seed,
            kill: 0.2,
            ..Scenario::default()
        });
        assert_eq!(report.killed, 40);
        let finds = &report.finds[1];
        assert_eq!(finds.phase, "after the kill");
        assert_eq!((finds.found, finds.finds), (200, 200), "{report}");
    }
}

#[test]
fn withdrawn_records_are_found_by_nobody() {
    let report = run(&Scenario {
        withdraw: 1.0,
        kill: 0.0,
        ..Scenario::default()
    });
    let withdraw = report.withdraw;
    assert_eq!((withdraw.withdrawn, withdraw.finds), (50, 200), "{report}");
    assert!(withdraw.acknowledged >= 50, "{report}");
    assert_eq!(withdraw.still_found, 0, "{report}");
}

#[test]
fn every_lookup_ends_under_heavy_loss() {
    for seed in 1..=3 {
        let report = run(&Scenario {
            seed,
            faults: Faults { loss: 0.3 },
            ..Scenario::default()
        });
        assert!(report.traffic.lost > 1_000, "{report}");
        for finds in &report.finds {
            assert_eq!(finds.unfinished, 0, "{report}");
            assert!(finds.success_ratio > 0.95, "{report}");
        }
    }
}

#[test]
fn every_step_of_every_machine_keeps_its_invariants() {
    let report = run(&Scenario {
        nodes: 60,
        join: Join::Bootstrap,
        finds: 50,
        faults: Faults { loss: 0.2 },
        check_every: NonZeroU64::MIN,
        ..Scenario::default()
    });
    assert!(report.events > 5_000, "{report}");
}

#[test]
fn every_lookup_ends_when_nothing_arrives() {
    let report = run(&Scenario {
        faults: Faults { loss: 1.0 },
        ..Scenario::default()
    });
    for finds in &report.finds {
        assert_eq!((finds.unfinished, finds.absent), (0, 0), "{report}");
    }
}

/// Plays a scenario; nobody may find what was never announced, in any.
fn run(scenario: &Scenario) -> Report {
    println!("{scenario:?}");
    let report = scenario.run().unwrap();
    println!("{report}");
    let invented: usize = report.finds.iter().map(|finds| finds.invented).sum();
    assert_eq!(invented, 0);
    report
}
