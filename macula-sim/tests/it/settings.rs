//! Settings that make no sense are refused.

use std::time::Duration;

use macula_sim::{Faults, Latency, Scenario, SimError};

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
    for value in [-0.1, 1.1, f64::INFINITY] {
        let faults = Faults { loss: value };
        let scenarios = [
            Scenario {
                faults,
                ..Scenario::default()
            },
            Scenario {
                kill: value,
                ..Scenario::default()
            },
            Scenario {
                withdraw: value,
                ..Scenario::default()
            },
        ];
        for (scenario, name) in scenarios.iter().zip(["loss", "kill", "withdraw"]) {
            assert_eq!(scenario.run(), Err(SimError::NotAShare { name, value }));
        }
    }
}

#[test]
fn latency_range_upside_down_is_refused() {
    let latency = Latency {
        min: Duration::from_secs(1),
        ..Latency::default()
    };
    let outcome = Scenario {
        latency,
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
