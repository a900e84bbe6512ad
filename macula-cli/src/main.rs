//! The `macula` program: run a node, serve and call functions from a shell.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

mod exit;
mod interrupt;
mod logging;
mod node;
mod output;

mod ask;
mod call;
mod demo;
mod find;
mod serve;
mod sim;
mod up;

use ask::Question;
use exit::Failure;
use output::Output;

/// Call functions by name across machines: no broker, no registry server.
#[derive(Parser)]
#[command(name = "macula", version)]
struct Cli {
    /// Print JSON, one object a line, instead of text; errors too
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// Tell more on standard error: -v what happens, -vv why
    #[arg(short, long, global = true, help_heading = "Output", action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch a mesh of real nodes find, call and survive the loss of a provider
    #[command(after_help = exit::HELP)]
    Demo(demo::Args),
    /// Run a node until Ctrl-C: others enter the network by it
    #[command(after_help = exit::HELP)]
    Up(up::Args),
    /// Provide a function until Ctrl-C
    #[command(after_help = exit::HELP)]
    Serve(serve::Args),
    /// Call a function and print its result
    #[command(after_help = exit::HELP)]
    Call(call::Args),
    /// Show who provides a function
    #[command(after_help = exit::HELP)]
    Find(find::Args),
    /// Ask a node whether it is there, and how long that takes
    #[command(after_help = exit::HELP)]
    Ping(ask::Args),
    /// Ask a node who and where it is, and what it provides
    #[command(after_help = exit::HELP)]
    Info(ask::Args),
    /// Ask a node how it is
    #[command(after_help = exit::HELP)]
    Health(ask::Args),
    /// Ask a node what it has counted: its calls above all
    #[command(after_help = exit::HELP)]
    Stats(ask::Args),
    /// Simulate a network of many nodes in virtual time
    Sim(sim::Args),
}

impl Command {
    /// Whether it goes on whatever happens, so that only a warning tells of it. The others print
    /// what became of what they were asked for.
    fn keeps_running(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Serve(_))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error),
    };
    // With JSON, what a program reads from standard error is the failure, one object.
    logging::start(cli.verbose, cli.command.keeps_running() && !cli.json);
    let output = Output::new(cli.json);
    match run(cli.command, output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            failure.class.into()
        }
    }
}

/// Reads the command line; the help of every command ends with the exit codes.
fn parse() -> Result<Cli, clap::Error> {
    let matches = command_line().try_get_matches()?;
    Cli::from_arg_matches(&matches)
}

fn command_line() -> clap::Command {
    Cli::command()
        .after_help(exit::HELP)
        .mut_subcommands(|command| command.after_help(exit::HELP))
}

async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(args, output).await,
        Command::Up(args) => up::run(args, output).await,
        Command::Serve(args) => serve::run(args, output).await,
        Command::Call(args) => call::run(args, output).await,
        Command::Find(args) => find::run(args, output).await,
        Command::Ping(args) => ask::run(Question::Ping, args, output).await,
        Command::Info(args) => ask::run(Question::Info, args, output).await,
        Command::Health(args) => ask::run(Question::Health, args, output).await,
        Command::Stats(args) => ask::run(Question::Stats, args, output).await,
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
    let failure = Failure::usage(first_paragraph(&error.render().to_string()));
    Output::new(true).fail(&failure);
    failure.class.into()
}

/// What is wrong, in one line; below it stands how it should be, for people.
fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines = text.lines().map(str::trim);
    lines
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command_line().debug_assert();
    }

    #[test]
    fn a_usage_error_for_programs_is_one_line() {
        let text = "error: these are missing:\n  <NAME>\n\nUsage: macula call <NAME>\n";
        assert_eq!(first_paragraph(text), "these are missing: <NAME>");
    }
}
