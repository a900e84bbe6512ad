//! `macula find`: who provides a function.

use macula_client::{Provider, ServiceName};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::node::NetworkArgs;
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The name to look for, like myapp.get_user
    name: ServiceName,
    #[command(flatten)]
    network: NetworkArgs,
}

/// A provider as it is shown.
#[derive(Serialize)]
struct Shown {
    node: String,
    contact: String,
    metadata: Map<String, Value>,
}

#[derive(Serialize)]
struct Answer {
    name: ServiceName,
    providers: Vec<Shown>,
}

pub(crate) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    let client = interrupt.or(args.network.connect_as_client()).await?;
    let find = async { Ok(client.providers(&args.name).await?) };
    let resolved = interrupt.or(find).await;
    client.shutdown().await;
    let providers = resolved?.providers.iter().map(Shown::from).collect();
    let answer = Answer {
        name: args.name.clone(),
        providers,
    };
    output.result(&answer, || answer.to_text())
}

impl From<&Provider> for Shown {
    fn from(provider: &Provider) -> Self {
        let pairs = provider.metadata().iter();
        Self {
            node: provider.node_id().to_string(),
            contact: provider.contact().to_string(),
            metadata: pairs
                .map(|(key, value)| (key.to_owned(), value.into()))
                .collect(),
        }
    }
}

impl Answer {
    fn to_text(&self) -> String {
        let lines = self.providers.iter().map(|provider| {
            let pairs = provider.metadata.iter();
            let pairs: Vec<_> = pairs
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect();
            format!("{}  {}", provider.contact, pairs.join(" "))
                .trim_end()
                .to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
