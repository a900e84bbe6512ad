//! `macula serve`: a function provided from the shell.

use std::time::Duration;

use macula_client::registry::DEFAULT_TTL;
use macula_client::{Advertise, Client, ServiceName};
use serde_json::Value;

use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::node::{ListenArgs, NetworkArgs, announce_ready, parse_pair};
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The name to provide, like myapp.get_user
    name: ServiceName,
    #[command(flatten)]
    answer: Answer,
    /// What to say about this provider to those who look for it; can be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    metadata: Vec<(String, String)>,
    /// Seconds until this provider is forgotten after a crash
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TTL.as_secs())]
    ttl: u64,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

/// What the function answers.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Answer {
    /// Answer with the arguments
    #[arg(long)]
    echo: bool,
    /// Answer with this JSON
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    reply: Option<Value>,
}

fn parse_json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

pub(crate) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    let client = interrupt
        .or(args.network.connect_as_server(&args.listen))
        .await?;
    let name = args.name;
    let mut advertise = advertise(&client, name.clone(), args.answer);
    for (key, value) in args.metadata {
        advertise = advertise.metadata(key, value);
    }
    advertise = advertise.ttl(Duration::from_secs(args.ttl));
    let advertised = interrupt.or(async { Ok(advertise.await?) }).await;
    let served = advertised.and_then(|advertisement| {
        // It is withdrawn when the client is shut down.
        advertisement.detach();
        announce_ready(&client, output, Some(&name))
    });
    if served.is_ok() {
        interrupt.received().await;
    }
    // After a failure too: the peers shall not take this node for a crashed one.
    client.shutdown().await;
    served
}

fn advertise(client: &Client, name: ServiceName, answer: Answer) -> Advertise {
    match answer.reply {
        Some(reply) => client.advertise(name, move |_: Value| {
            let reply = reply.clone();
            async move { Ok(reply) }
        }),
        None => client.advertise_raw(name, |args| async move { Ok(args) }),
    }
}
