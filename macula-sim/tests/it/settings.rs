//! Settings that make no sense are refused.

use std::time::Duration;

use macula_sim::{Churn, Latency, Population, Scenario, SimError};

#[test]
fn network_of_one_node_is_refused() {
    let outcome = Scenario {
        nodes: 1,
        ..Scenario::default()
    }
    .run();
    assert_eq!(outcome, Err(SimError::TooFewNodes(1)));
}

#[test]
fn shares_outside_zero_to_one_are_refused() {
    type Set = fn(&mut Scenario, f64);
    let settings: [(&str, Set); 8] = [
        ("loss", |scenario, value| {
            scenario.faults.loss = value;
        }),
        ("duplicates", |scenario, value| {
            scenario.faults.duplicates = value;
        }),
        ("kill", |scenario, value| scenario.kill = value),
        ("withdraw", |scenario, value| scenario.withdraw = value),
        ("absent", |scenario, value| scenario.absent = value),
        ("liars", |scenario, value| scenario.population.liars = value),
        ("dead_contacts", |scenario, value| {
            scenario.population.dead_contacts = value;
        }),
        ("churn.returning", |scenario, value| {
            scenario.churn = Some(Churn {
                returning: value,
                ..Churn::default()
            });
        }),
    ];
    for value in [-0.1, 1.1, f64::INFINITY] {
        for (name, set) in settings {
            let mut scenario = Scenario::default();
            set(&mut scenario, value);
            assert_eq!(scenario.run(), Err(SimError::NotAShare { name, value }));
        }
    }
}

#[test]
fn more_special_nodes_than_nodes_are_refused() {
    let population = Population {
        clients: 0.5,
        liars: 0.6,
        ..Population::default()
    };
    let outcome = Scenario {
        population,
        ..Scenario::default()
    }
    .run();
    assert!(matches!(outcome, Err(SimError::NotAShare { .. })));
}

#[test]
fn churn_without_sessions_is_refused() {
    for churn in [
        Churn::with_median(Duration::ZERO),
        Churn {
            shape: 0.0,
            ..Churn::default()
        },
        Churn {
            shape: f64::NAN,
            ..Churn::default()
        },
    ] {
        let outcome = Scenario {
            churn: Some(churn),
            ..Scenario::default()
        }
        .run();
        assert_eq!(outcome, Err(SimError::Churn));
    }
}

#[test]
fn services_without_providers_are_refused() {
    for providers in [0, 200] {
        let outcome = Scenario {
            providers,
            ..Scenario::default()
        }
        .run();
        assert_eq!(outcome, Err(SimError::Providers(providers)));
    }
}

#[test]
fn latency_range_upside_down_is_refused() {
    let outcome = Scenario {
        latency: Latency::between(Duration::from_secs(1), Duration::ZERO),
        ..Scenario::default()
    }
    .run();
    assert_eq!(outcome, Err(SimError::LatencyRange));
}

#[test]
fn run_that_takes_too_many_events_is_given_up() {
    let outcome = Scenario {
        max_events: 1_000,
        ..Scenario::default()
    }
    .run();
    assert_eq!(outcome, Err(SimError::TooManyEvents(1_000)));
}
