//! The checks and the figures of the project: `cargo xtask ci` and `cargo xtask figures`.

#![expect(
    clippy::print_stdout,
    reason = "a program that talks to whoever started it"
)]

mod cargo;
mod ci;
mod figures;
mod layering;
mod stopwatch;
mod workspace;

use clap::{Parser, Subcommand};

use crate::cargo::Cargo;

/// The checks and the figures of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs what CI runs, step by step
    Ci(ci::Arguments),
    /// Measures the figures beside what they are compared with
    Figures(figures::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let cargo = Cargo::of_this_checkout()?;
    match arguments.command {
        Command::Ci(arguments) => ci::run(&cargo, &arguments),
        Command::Figures(arguments) => figures::run(&cargo, &arguments),
    }
}
