//! `macula call`: one call from the shell.

use std::io::{self, Read as _};
use std::time::Duration;

use macula_client::{Client, Metadata, NodeId, ServiceName};
use serde_json::Value;

use crate::exit::{Class, Failure};
use crate::interrupt::Interrupt;
use crate::node::{NamedNode, NetworkArgs, parse_pair};
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The name to call, like myapp.get_user
    name: ServiceName,
    /// The arguments as JSON, or - to read them from standard input
    #[arg(default_value = "null", value_name = "JSON")]
    args: String,
    /// Seconds until the call is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = parse_seconds)]
    timeout: f64,
    /// Call this node and no other, by its id or by its contact; what it provides need not be listed
    #[arg(long, value_name = "NODE")]
    provider: Option<NamedNode>,
    /// Call none but this provider; can be given several times, for one of them to answer
    #[arg(long, value_name = "NODE-ID", conflicts_with = "provider")]
    only: Vec<NodeId>,
    /// Call none but providers that say this about themselves; can be given several times, for
    /// those that say all of it
    #[arg(long = "where", value_name = "KEY=VALUE", value_parser = parse_pair)]
    saying: Vec<(String, String)>,
    /// Never let the function run twice, even if the answer is lost
    #[arg(long)]
    at_most_once: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(crate) fn parse_seconds(text: &str) -> Result<f64, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds")?;
    if seconds > 0.0 && seconds <= MAX_TIMEOUT.as_secs_f64() {
        Ok(seconds)
    } else {
        Err("expected more than 0 seconds and at most a day")
    }
}

const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest arguments that are read from standard input: a little more than can be sent.
const MAX_INPUT_BYTES: u64 = 17 * 1024 * 1024;

pub(crate) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    let value = read_args(&args.args)?;
    let saying = metadata(&args.saying)?;
    let client = interrupt.or(args.enter()).await?;
    let result = interrupt.or(call(&client, args, saying, &value)).await;
    // After a Ctrl-C this tells the provider that nobody waits any more.
    client.shutdown().await;
    let result = result?;
    output.result(&result, || format!("{result:#}"))
}

impl Args {
    async fn enter(&self) -> Result<Client, Failure> {
        let network = match &self.provider {
            Some(provider) => self.network.clone().through(provider),
            None => self.network.clone(),
        };
        network.connect_as_client().await
    }
}

/// What providers have to say about themselves.
fn metadata(pairs: &[(String, String)]) -> Result<Metadata, Failure> {
    let mut metadata = Metadata::new();
    for (key, value) in pairs {
        if metadata.value(key).is_some_and(|other| other != value) {
            let contradiction = format!("nobody can say two things about {key}");
            return Err(Failure::usage(contradiction));
        }
        let inserted = metadata.insert(key, value);
        inserted.map_err(|error| Failure::of(Class::Usage, &error))?;
    }
    Ok(metadata)
}

async fn call(
    client: &Client,
    args: Args,
    saying: Metadata,
    value: &Value,
) -> Result<Value, Failure> {
    let mut call = client
        .call_json(args.name, value)
        .with_metadata(saying)
        .timeout(Duration::from_secs_f64(args.timeout));
    if let Some(provider) = args.provider {
        call = call.provider(provider.node_id);
    }
    if !args.only.is_empty() {
        call = call.only(args.only);
    }
    if args.at_most_once {
        call = call.at_most_once();
    }
    Ok(call.await?)
}

fn read_args(text: &str) -> Result<Value, Failure> {
    let mut input = String::new();
    let text = if text == "-" {
        io::stdin()
            .take(MAX_INPUT_BYTES)
            .read_to_string(&mut input)
            .map_err(|error| Failure::of(Class::Usage, &error))?;
        &input
    } else {
        text
    };
    serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("the arguments are not JSON: {error}")))
}
