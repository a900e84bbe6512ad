//! `cargo xtask figures`: builds the measurements with optimisation and runs them.
//!
//! What is measured, and how, is in the crate `benches`.

use crate::cargo::Cargo;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the figures of this area
    #[arg(value_parser = ["core", "transport", "dht", "registry", "rpc"])]
    area: Option<String>,
    /// Print one JSON list instead of a table
    #[arg(long)]
    json: bool,
    /// Take the long measurements too, and more pairs of each
    #[arg(long)]
    full: bool,
}

/// Runs the program that measures, its output going where ours goes.
pub(crate) fn run(cargo: &Cargo, arguments: &Arguments) -> anyhow::Result<()> {
    let mut command = vec![
        "run",
        "--quiet",
        "--release",
        "--package",
        "benches",
        "--bin",
        "figures",
        "--",
    ];
    command.extend(arguments.area.as_deref());
    command.extend(arguments.json.then_some("--json"));
    command.extend(arguments.full.then_some("--full"));
    cargo.run_silently(&command, &[])
}
