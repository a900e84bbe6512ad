//! Whole networks: the same from the same seed, and they find what is there.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "helpers of tests fail by panicking, and what they print is shown when a test fails"
)]

use macula_sim::{Report, Scenario};

mod determinism;
mod findability;
mod network;
mod report;
mod settings;
mod survival;

/// Plays a scenario. In any, nobody may find what was never announced, and everything ends.
fn run(scenario: &Scenario) -> Report {
    println!("{scenario:?}");
    let report = scenario.run().unwrap();
    println!("{report}");
    assert_eq!(report.missed_deadlines, 0);
    for finds in &report.finds {
        assert_eq!((finds.invented, finds.unfinished), (0, 0));
    }
    report
}
