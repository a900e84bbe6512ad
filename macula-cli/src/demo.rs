//! `macula demo`: a mesh of real nodes in one process, shown at work.
//!
//! Every node has its own QUIC sockets on loopback and finds the others through the DHT only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use macula_client::testnet::Testnet;
use macula_client::{AdvertisementState, CallError, Client, Reply};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Output, Took, place};

mod tally;

use tally::Tally;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many nodes the mesh has
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(5..=64))]
    nodes: u16,
    /// How many calls to make
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    calls: u32,
    /// How many calls are under way at a time
    #[arg(long, value_name = "CALLS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
}

const SERVICE: &str = "demo.greet";

/// The nodes that provide; the last node of the mesh calls.
const PROVIDERS: [usize; 3] = [1, 2, 3];

/// The provider that is killed in mid-run.
const VICTIM: usize = PROVIDERS[1];

pub(crate) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    interrupt
        .or(async {
            let net = start(&args, output).await?;
            advertise(&net, output).await?;
            first_calls(&net, output).await?;
            let tally = load(&net, &args, output).await?;
            output.result(&tally.facts(), || tally.summary())?;
            net.shutdown().await;
            tally.verdict()
        })
        .await
}

/// Starts the mesh and shows who is who.
async fn start(args: &Args, output: Output) -> Result<Testnet, Failure> {
    let count = usize::from(args.nodes);
    let started = Instant::now();
    let net = Testnet::start(count).await?;
    output.progress(|| {
        let elapsed = Took(started.elapsed());
        format!("{count} nodes, each with QUIC sockets of its own, started in {elapsed}:")
    });
    for (index, node) in net.nodes().iter().enumerate() {
        let role = match index {
            index if PROVIDERS.contains(&index) => "provides",
            index if index + 1 == count => "calls",
            _ => "",
        };
        output.progress(|| {
            let contact = node.contact();
            let address = contact.addresses.iter().next();
            let address = address.map(ToString::to_string).unwrap_or_default();
            let line = format!("  {}  {address:<15}  {role}", contact.node_id.short());
            line.trim_end().to_owned()
        });
    }
    Ok(net)
}

fn caller(net: &Testnet) -> &Client {
    &net.nodes()[net.nodes().len() - 1]
}

/// Advertises the service from three nodes, until each is shut down or killed.
async fn advertise(net: &Testnet, output: Output) -> Result<(), Failure> {
    output.progress(|| format!("\nadvertising {SERVICE} in the DHT:"));
    for index in PROVIDERS {
        let greet = |name: String| async move { Ok(format!("hello {name}")) };
        let start = Instant::now();
        let advertisement = net.node(index).advertise(SERVICE, greet).await?;
        output.progress(|| {
            let node = net.node(index).node_id();
            let state = show_state(&advertisement.state());
            format!("  {}  {state}, in {}", node.short(), Took(start.elapsed()))
        });
        advertisement.detach();
    }
    Ok(())
}

fn show_state(state: &AdvertisementState) -> String {
    match state {
        AdvertisementState::Published { holders, full: 0 } => format!("held by {holders} nodes"),
        AdvertisementState::Published { holders, full } => {
            format!("held by {holders} nodes, {full} are full")
        }
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Shows where a provider is found: at the caller itself, in the DHT, in the cache.
async fn first_calls(net: &Testnet, output: Output) -> Result<(), Failure> {
    output.progress(|| "\nfirst calls, one by one:".to_owned());
    output.progress(|| first_call_row("caller", "found in", "answered by", "took"));
    for client in [net.node(PROVIDERS[0]), caller(net), caller(net)] {
        let reply = client
            .call::<_, _, String>(SERVICE, "world")
            .detailed()
            .await?;
        output.progress(|| {
            first_call_row(
                &client.node_id().short().to_string(),
                place(reply.source),
                &reply.provider.short().to_string(),
                &Took(reply.elapsed).to_string(),
            )
        });
    }
    Ok(())
}

fn first_call_row(caller: &str, found: &str, provider: &str, took: &str) -> String {
    format!("  {caller:<10}  {found:<10}  {provider:<11}  {took:>8}")
}

/// Calls from several tasks at once, and kills a provider when half of the calls are answered.
async fn load(net: &Testnet, args: &Args, output: Output) -> Result<Tally, Failure> {
    let providers = PROVIDERS.map(|index| net.node(index).node_id());
    let mut tally = Tally::new(providers)?;
    output.progress(|| {
        let (caller, at_a_time) = (caller(net).node_id(), args.concurrency);
        let (calls, caller) = (args.calls, caller.short());
        format!("\n{calls} calls from {caller}, {at_a_time} at a time:")
    });
    output.progress(|| tally.heading());
    let mut outcome = start_callers(net, args);
    while let Some(reply) = outcome.recv().await {
        tally.count(reply);
        if tally.calls().is_multiple_of(PROGRESS_EVERY) || tally.calls() == args.calls {
            output.progress(|| tally.row());
        }
        if tally.calls() == args.calls / 2 {
            let victim = net.kill(VICTIM).await;
            tally.killed(victim);
            output.progress(|| format!("  -- {} is killed --", victim.short()));
        }
    }
    Ok(tally)
}

/// Starts the tasks that call, and gives what comes of their calls until all are made.
fn start_callers(net: &Testnet, args: &Args) -> mpsc::Receiver<Result<Reply, CallError>> {
    let budget = Arc::new(AtomicU32::new(args.calls));
    let (outcomes, outcome) = mpsc::channel(usize::from(args.concurrency));
    for _ in 0..args.concurrency {
        let (client, budget) = (caller(net).clone(), budget.clone());
        tokio::spawn(call_repeatedly(client, budget, outcomes.clone()));
    }
    outcome
}

/// Calls until the budget of all callers together is used up.
async fn call_repeatedly(
    client: Client,
    budget: Arc<AtomicU32>,
    outcomes: mpsc::Sender<Result<Reply, CallError>>,
) {
    let take = |left: u32| left.checked_sub(1);
    while budget
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let reply = client
            .call::<_, _, String>(SERVICE, "world")
            .detailed()
            .await;
        if outcomes.send(reply).await.is_err() {
            return;
        }
    }
}

/// Progress is printed after every so many calls.
const PROGRESS_EVERY: u32 = 500;
