//! Simulate.
use crate::exit::Failure;
use crate::output::Output;
#[derive(clap::Args)]
pub(crate) struct Args {}
pub(crate) fn run(_: &Args, _: Output) -> Result<(), Failure> {
    Ok(())
}
