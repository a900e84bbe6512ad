//! Equal seeds, equal runs.

use macula_sim::{Faults, Join, Scenario};

#[test]
fn same_seed_gives_the_same_trace_and_report() {
    let scenario = lossy(7);
    let first = scenario.run().unwrap();
    let second = scenario.run().unwrap();
    assert_eq!(first, second);
    assert!(first.events > 5_000, "only {} events", first.events);
}

#[test]
fn same_seed_gives_the_same_trace_with_real_joins() {
    let scenario = Scenario {
        join: Join::Bootstrap,
        ..lossy(7)
    };
    assert_eq!(scenario.run().unwrap(), scenario.run().unwrap());
}

#[test]
fn different_seed_gives_a_different_trace() {
    let hashes = [7, 8].map(|seed| lossy(seed).run().unwrap().trace_hash);
    assert_ne!(hashes[0], hashes[1]);
}

fn lossy(seed: u64) -> Scenario {
    Scenario {
        seed,
        nodes: 80,
        records: 20,
        finds: 40,
        faults: Faults { loss: 0.1 },
        ..Scenario::default()
    }
}
