//! `macula sim`: will lookups hold in a network of so many nodes?

use macula_sim::{Faults, Join, Scenario, SimError};

use crate::exit::{Class, Failure};
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many nodes the network has
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: u32,
    /// How many services are announced, and how many finds are made in each phase
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    records: u32,
    /// The share of messages that are lost, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// The share of nodes that are killed at one instant, 0 to 1
    #[arg(long, default_value_t = 0.2)]
    kill: f64,
    /// Let every node join by the network's own means, rather than filling routing tables at once
    #[arg(long)]
    real_joins: bool,
    /// Where all randomness comes from: the same seed gives the same run
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let scenario = Scenario {
        seed: args.seed,
        nodes: count(args.nodes),
        join: if args.real_joins {
            Join::Bootstrap
        } else {
            Join::Synthetic
        },
        services: count(args.records),
        finds: count(args.records),
        kill: args.kill,
        faults: Faults { loss: args.loss },
        ..Scenario::default()
    };
    let report = scenario.run().map_err(|error| failure(&error))?;
    output.result(&report, || report.to_string().trim_end().to_owned())
}

fn failure(error: &SimError) -> Failure {
    let class = match error {
        SimError::TooManyEvents(_) => Class::Unexpected,
        _ => Class::Usage,
    };
    Failure::of(class, error)
}
