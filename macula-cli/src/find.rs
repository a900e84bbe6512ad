//! `macula find`: who provides a function.

use std::fmt::Write as _;
use std::time::Duration;

use macula_client::dht::{FindOutcome, Found, Hop, HopOutcome};
use macula_client::registry::ResolveError;
use macula_client::{Client, Provider, ProvidersError, ServiceName};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::node::NetworkArgs;
use crate::output::{Output, Took};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The name to look for, like myapp.get_user
    name: ServiceName,
    /// Ask the network, past any cache, and show every request on the way
    #[arg(long)]
    trace: bool,
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

/// A request of the search as it is shown.
#[derive(Serialize)]
struct Request {
    node: String,
    depth: usize,
    shared_bits: usize,
    sent_ms: f64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    providers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closer: Option<usize>,
    #[serde(skip)]
    hop: Hop,
}

#[derive(Serialize)]
struct Answer {
    name: ServiceName,
    providers: Vec<Shown>,
    /// `None` without `--trace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Vec<Request>>,
}

pub(crate) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    let client = interrupt.or(args.network.connect_as_client()).await?;
    let find = async {
        if args.trace {
            trace(&client, args.name.clone()).await
        } else {
            list(&client, args.name.clone()).await
        }
    };
    let answered = interrupt.or(find).await;
    client.shutdown().await;
    let (answer, in_vain) = answered?;
    output.result(&answer, || answer.to_text())?;
    in_vain.map_or(Ok(()), |error| Err(ProvidersError::Resolve(error).into()))
}

/// The answer, and why it names nobody if that is how it is.
type Answered = Result<(Answer, Option<ResolveError>), Failure>;

async fn list(client: &Client, name: ServiceName) -> Answered {
    let resolved = client.providers(&name).await?;
    let answer = Answer {
        name,
        providers: resolved.providers().iter().map(Shown::from).collect(),
        trace: None,
    };
    Ok((answer, None))
}

async fn trace(client: &Client, name: ServiceName) -> Answered {
    let found = client.trace(&name).await?;
    let in_vain = match found.outcome {
        FindOutcome::Found => None,
        FindOutcome::Absent => Some(ResolveError::NotFound),
        FindOutcome::Inconclusive => Some(ResolveError::Inconclusive),
    };
    let Found {
        providers, trace, ..
    } = found;
    let providers = providers.into_iter().map(|found| found.record.into());
    let answer = Answer {
        name,
        providers: providers
            .map(|provider: Provider| Shown::from(&provider))
            .collect(),
        trace: Some(trace.into_iter().map(Request::from).collect()),
    };
    Ok((answer, in_vain))
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

impl From<Hop> for Request {
    fn from(hop: Hop) -> Self {
        let (outcome, ended, counts) = match hop.outcome {
            HopOutcome::Answered {
                after,
                providers,
                closer,
            } => ("answered", Some(after), Some((providers, closer))),
            HopOutcome::Failed { after } => ("failed", Some(after), None),
            HopOutcome::Unanswered => ("unanswered", None, None),
        };
        let millis = |after: Duration| after.as_secs_f64() * 1e3;
        Self {
            node: hop.peer.to_string(),
            depth: hop.depth,
            shared_bits: hop.shared_bits,
            sent_ms: millis(hop.sent_after),
            outcome,
            ended_ms: ended.map(millis),
            providers: counts.map(|(providers, _)| providers),
            closer: counts.map(|(_, closer)| closer),
            hop,
        }
    }
}

impl Request {
    fn to_text(&self) -> String {
        let sent = Took(self.hop.sent_after);
        let Self {
            node,
            depth,
            shared_bits,
            ..
        } = self;
        let mut line = format!("{sent:>8}  depth {depth}  {shared_bits:>3} bits  {node}  ");
        // Writing to a string does not fail.
        let _ = match self.hop.outcome {
            HopOutcome::Answered {
                after,
                providers,
                closer,
            } => write!(
                line,
                "answered after {}: {providers} providers, {closer} closer nodes",
                Took(after.saturating_sub(self.hop.sent_after))
            ),
            HopOutcome::Failed { after } => write!(
                line,
                "failed after {}",
                Took(after.saturating_sub(self.hop.sent_after))
            ),
            HopOutcome::Unanswered => write!(line, "not answered in time"),
        };
        line
    }
}

impl Answer {
    fn to_text(&self) -> String {
        let trace = self.trace.iter().flatten().map(Request::to_text);
        let providers = self.providers.iter().map(|provider| {
            let pairs = provider.metadata.iter();
            let pairs: Vec<_> = pairs
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect();
            format!("{}  {}", provider.contact, pairs.join(" "))
                .trim_end()
                .to_owned()
        });
        trace.chain(providers).collect::<Vec<_>>().join("\n")
    }
}
