//! How lookups grow with the network: `cargo run --release -p macula-sim --example growth -- 1000`.
//!
//! Tables are filled at once and refreshed never, so that nothing but the lookups takes time.

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use macula_dht::kad::KadConfig;
use macula_sim::{Finds, Scenario, SimError, Simulation};

fn main() -> Result<(), SimError> {
    let sizes: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|size| size.parse().ok())
        .collect();
    for nodes in sizes {
        let report = grow(nodes)?;
        println!("{report}");
    }
    Ok(())
}

fn grow(nodes: usize) -> Result<macula_sim::Report, SimError> {
    let scenario = Scenario {
        nodes,
        services: 500,
        providers: 3,
        kad: KadConfig {
            refresh_interval: Duration::from_secs(24 * 3600),
            ..KadConfig::default()
        },
        check_every: NonZeroU64::MAX,
        ..Scenario::default()
    };
    let mut simulation = Simulation::new(&scenario)?;
    simulation.join()?;
    simulation.announce()?;
    let three = Finds {
        count: 1_000,
        over: Duration::from_secs(50),
        want: NonZeroUsize::new(3),
        absent: 0.0,
    };
    let exhaustive = Finds {
        want: None,
        absent: 1.0,
        ..three
    };
    simulation.find("want 3", three)?;
    simulation.find("exhaustive", exhaustive)?;
    Ok(simulation.report())
}
