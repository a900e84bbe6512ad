//! Whether lookups hold while nodes come and go as in public networks, a tenth of all contacts
//! being dead: `cargo run --release -p macula-sim --example survival -- 1000 3600 20000`
//! (nodes, seconds, finds).

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::num::NonZeroU64;
use std::time::Duration;

use macula_sim::{Churn, Population, Scenario, SimError};

fn main() -> Result<(), SimError> {
    let numbers: Vec<u32> = std::env::args()
        .skip(1)
        .filter_map(|number| number.parse().ok())
        .collect();
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let scenario = Scenario {
        nodes: number(0, 1_000) as usize,
        duration: Duration::from_secs(u64::from(number(1, 3_600))),
        finds: number(2, 20_000) as usize,
        services: 300,
        churn: Some(Churn::default()),
        population: Population {
            dead_contacts: 0.1,
            ..Population::default()
        },
        withdraw: 0.5,
        check_every: NonZeroU64::MAX,
        ..Scenario::default()
    };
    println!("{}", scenario.run()?);
    Ok(())
}
