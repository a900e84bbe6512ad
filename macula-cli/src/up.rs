//! `macula up`: a node that serves its part of the DHT.

use crate::exit::Failure;
use crate::node::{ListenArgs, NetworkArgs, announce_ready, interrupted, unless_interrupted};
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(crate) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let client = unless_interrupted(args.network.connect_as_server(&args.listen)).await?;
    announce_ready(&client, output);
    interrupted().await;
    client.shutdown().await;
    Ok(())
}
