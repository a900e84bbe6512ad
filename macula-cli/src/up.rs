//! `macula up`: a node that serves its part of the DHT.

use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::node::{ListenArgs, NetworkArgs, announce_ready};
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(crate) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    let client = interrupt
        .or(args.network.connect_as_server(&args.listen))
        .await?;
    let announced = announce_ready(&client, output, None);
    if announced.is_ok() {
        interrupt.received().await;
    }
    client.shutdown().await;
    announced
}
