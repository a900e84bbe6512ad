//! The `macula` program: run a node, serve and call functions from a shell.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what a program does"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod exit;
mod interrupt;
mod logging;
mod node;
mod output;

mod call;
mod demo;
mod find;
mod serve;
mod sim;
mod up;

use exit::Failure;
use output::Output;

/// Call functions by name across machines: no broker, no registry server.
#[derive(Parser)]
#[command(name = "macula", version, after_help = exit::HELP)]
struct Cli {
    /// Print JSON, one object a line, instead of text; errors too
    #[arg(long, global = true)]
    json: bool,
    /// Tell more on standard error: -v what happens, -vv why
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a mesh of real nodes serve, find, call and survive a killed provider
    Demo(demo::Args),
    /// Run a node until Ctrl-C
    Up(up::Args),
    /// Provide a function until Ctrl-C
    Serve(serve::Args),
    /// Call a function and print its result
    Call(call::Args),
    /// Show who provides a function
    Find(find::Args),
    /// Simulate a network of many nodes in virtual time
    Sim(sim::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error),
    };
    logging::start(cli.verbose, cli.json);
    let output = Output::new(cli.json);
    match run(cli.command, output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            failure.class.into()
        }
    }
}

async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(args, output).await,
        Command::Up(args) => up::run(args, output).await,
        Command::Serve(args) => serve::run(args, output).await,
        Command::Call(args) => call::run(args, output).await,
        Command::Find(args) => find::run(args, output).await,
        Command::Sim(args) => sim::run(&args, output),
    }
}

/// Help and version are no failures; everything else is a usage error, in JSON when that was asked
/// for.
fn refuse_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !std::env::args_os().any(|arg| arg == "--json") {
        let _ = error.print();
        return if error.use_stderr() {
            exit::Class::Usage.into()
        } else {
            ExitCode::SUCCESS
        };
    }
    let message = error.render().to_string();
    let failure = Failure::usage(message.trim().to_owned());
    Output::new(true).fail(&failure);
    failure.class.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
