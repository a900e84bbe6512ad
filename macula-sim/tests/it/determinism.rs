//! Equal seeds, equal runs.

use std::num::NonZeroU64;
use std::time::Duration;

use macula_sim::{Churn, Faults, Join, Partition, Population, Scenario};

#[test]
fn same_seed_gives_the_same_trace_and_report() {
    let scenario = eventful(7);
    let first = scenario.run().unwrap();
    let second = scenario.run().unwrap();
    assert_eq!(first, second);
    assert!(first.events > 5_000, "only {} events", first.events);
    assert!(first.departed > 0, "{first}");
}

#[test]
fn same_seed_gives_the_same_trace_with_real_joins() {
    let scenario = Scenario {
        join: Join::Bootstrap,
        ..eventful(7)
    };
    assert_eq!(scenario.run().unwrap(), scenario.run().unwrap());
}

#[test]
fn different_seed_gives_a_different_trace() {
    let hashes = [7, 8].map(|seed| eventful(seed).run().unwrap().trace_hash);
    assert_ne!(hashes[0], hashes[1]);
}

/// Everything that can happen to a network, in a minute or two.
fn eventful(seed: u64) -> Scenario {
    Scenario {
        seed,
        nodes: 80,
        services: 20,
        finds: 40,
        kill: 0.1,
        absent: 0.1,
        churn: Some(Churn::with_median(Duration::from_secs(600))),
        partition: Some(Partition {
            groups: NonZeroU64::MIN.saturating_add(1),
            begins: Duration::from_secs(10),
            lasts: Duration::from_secs(15),
        }),
        population: Population {
            clients: 0.05,
            unreachable: 0.05,
            liars: 0.1,
            dead_contacts: 0.1,
            ..Population::default()
        },
        faults: Faults {
            loss: 0.1,
            duplicates: 0.1,
        },
        ..Scenario::default()
    }
}
