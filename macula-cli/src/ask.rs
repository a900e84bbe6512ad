//! `macula ping`, `info`, `health` and `stats`: what a node tells of itself.

use std::time::Duration;

use macula_client::system::{HealthStatus, NodeHealth, NodeInfo, Pong};
use macula_client::{Client, NodeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::parse_seconds;
use crate::exit::{Class, Failure};
use crate::interrupt::Interrupt;
use crate::node::{NamedNode, NetworkArgs};
use crate::output::{Output, Took};

mod stats;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node, by its id or by its contact; with a contact no --bootstrap is needed
    node: NamedNode,
    /// Seconds until the answer is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = parse_seconds)]
    timeout: f64,
    #[command(flatten)]
    network: NetworkArgs,
}

/// What a node is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question {
    Ping,
    Info,
    Health,
    Stats,
}

/// A node that is there.
#[derive(Serialize)]
struct Pinged {
    node: NodeId,
    took_ms: f64,
}

pub(crate) async fn run(question: Question, args: Args, output: Output) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    let network = args.network.through(&args.node);
    let client = interrupt.or(network.connect_as_client()).await?;
    let node_id = args.node.node_id;
    let timeout = Duration::from_secs_f64(args.timeout);
    let answered = interrupt.or(ask(&client, question, node_id, timeout)).await;
    client.shutdown().await;
    let (answer, took) = answered?;
    match question {
        Question::Ping => {
            let pong: Pong = read(&answer)?;
            let pinged = Pinged {
                node: pong.node_id,
                took_ms: took.as_secs_f64() * 1e3,
            };
            output.result(&pinged, || {
                format!("{} answered in {}", pinged.node, Took(took))
            })
        }
        Question::Info => show(output, &answer, info_in_words),
        Question::Health => show(output, &answer, health_in_words),
        Question::Stats => show(output, &answer, stats::in_words),
    }
}

/// The answer, and how long it took.
async fn ask(
    client: &Client,
    question: Question,
    node_id: NodeId,
    timeout: Duration,
) -> Result<(Value, Duration), Failure> {
    let service = match question {
        Question::Ping => "_sys.ping",
        Question::Info => "_sys.info",
        Question::Health => "_sys.health",
        Question::Stats => "_sys.stats",
    };
    let call = client.call_json::<_, _, Value>(service, &());
    let reply = call.provider(node_id).timeout(timeout).detailed().await?;
    let last = reply.attempts.last().map(|attempt| attempt.elapsed);
    let answer = reply.codec.decode(&reply.body);
    let answer = answer.map_err(|error| Failure::of(Class::Unexpected, &error))?;
    // Where the node is had to be found out first.
    Ok((answer, last.unwrap_or(reply.elapsed)))
}

/// Prints the answer as it came, or in words.
fn show<T: DeserializeOwned>(
    output: Output,
    answer: &Value,
    in_words: fn(&T) -> String,
) -> Result<(), Failure> {
    let read: T = read(answer)?;
    output.result(answer, || in_words(&read))
}

fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|error| Failure::of(Class::Unexpected, &error))
}

fn info_in_words(info: &NodeInfo) -> String {
    let addresses: Vec<_> = info.addresses.iter().map(ToString::to_string).collect();
    let services: Vec<_> = info.services.iter().map(ToString::to_string).collect();
    let role = if info.serves { "server" } else { "client" };
    [
        ("node", info.node_id.to_string()),
        ("realm", info.realm.to_string()),
        ("addresses", listed(&addresses)),
        ("role", role.to_owned()),
        ("software", info.software.clone()),
        (
            "up for",
            Took(Duration::from_millis(info.uptime_millis)).to_string(),
        ),
        ("services", listed(&services)),
    ]
    .map(|(what, value)| format!("{what:<9}  {value}"))
    .join("\n")
}

fn health_in_words(health: &NodeHealth) -> String {
    let status = match health.status {
        HealthStatus::Ok => "ok",
        HealthStatus::Degraded => "degraded",
        HealthStatus::Draining => "draining",
        _ => "unknown",
    };
    let contacts = health.contacts.map(|contacts| contacts.to_string());
    let reachable = if health.is_reachable { "yes" } else { "no" };
    [
        ("status", status.to_owned()),
        ("peers", health.peers.to_string()),
        ("contacts", contacts.unwrap_or_else(|| NOTHING.to_owned())),
        ("reachable", reachable.to_owned()),
        ("degraded", health.degraded_services.to_string()),
    ]
    .map(|(what, value)| format!("{what:<9}  {value}"))
    .join("\n")
}

fn listed(items: &[String]) -> String {
    if items.is_empty() {
        return NOTHING.to_owned();
    }
    items.join(", ")
}

/// Stands where there is nothing to tell.
const NOTHING: &str = "-";
