//! The checks and the figures of the project: `cargo xtask ci` and `cargo xtask figures`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to whoever started it"
)]

mod cargo;
mod ci;
mod figures;
mod layering;
mod stopwatch;
mod workspace;

use std::process::ExitCode;

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

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let cargo = Cargo::of_this_checkout()?;
    match command {
        Command::Ci(arguments) => ci::run(&cargo, &arguments),
        Command::Figures(arguments) => figures::run(&cargo, &arguments),
    }
}
