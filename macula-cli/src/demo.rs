//! `macula demo`: a mesh of real nodes in one process, shown at work.
//!
//! Every node has its own QUIC sockets on loopback and finds the others through the DHT only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use macula_client::testnet::Testnet;
use macula_client::{Advertisement, CallError, Client, Reply};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;

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
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
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
            let net = Testnet::start(usize::from(args.nodes)).await?;
            output.progress(|| format!("{} nodes, each with its own QUIC sockets:", args.nodes));
            for node in net.nodes() {
                output.progress(|| format!("  {}", node.contact()));
            }
            let advertisements = advertise(&net, output).await?;
            first_calls(&net, output).await?;
            let tally = load(&net, &args, output).await?;
            let facts = tally.facts();
            output.result(&facts, || facts.to_text());
            drop(advertisements);
            net.shutdown().await;
            tally.verdict()
        })
        .await
}

fn caller(net: &Testnet) -> &Client {
    &net.nodes()[net.nodes().len() - 1]
}

/// Advertises the service from three nodes.
async fn advertise(net: &Testnet, output: Output) -> Result<Vec<Advertisement>, Failure> {
    output.progress(|| format!("\nadvertising {SERVICE} from three of them:"));
    let mut advertisements = Vec::new();
    for index in PROVIDERS {
        let greet = |name: String| async move { Ok(format!("hello {name}")) };
        let start = Instant::now();
        let advertisement = net.node(index).advertise(SERVICE, greet).await?;
        output.progress(|| {
            let (node, elapsed) = (net.node(index).node_id(), start.elapsed());
            format!(
                "  {} {:?} in {elapsed:.1?}",
                node.short(),
                advertisement.state()
            )
        });
        advertisements.push(advertisement);
    }
    Ok(advertisements)
}

/// Shows where a provider is found: here, in the DHT, in the cache.
async fn first_calls(net: &Testnet, output: Output) -> Result<(), Failure> {
    output.progress(|| "\nfirst calls, one by one:".to_owned());
    let callers = [
        ("a provider itself", net.node(PROVIDERS[0])),
        ("another node", caller(net)),
        ("again", caller(net)),
    ];
    for (who, client) in callers {
        let reply = client
            .call::<_, _, String>(SERVICE, "world")
            .detailed()
            .await?;
        output.progress(|| {
            format!(
                "  {who:<18} found: {:<6} answered by {} in {:.1?}",
                format!("{:?}", reply.source).to_lowercase(),
                reply.provider.short(),
                reply.elapsed
            )
        });
    }
    Ok(())
}

/// Calls from several tasks at once, and kills a provider when half of the calls are answered.
async fn load(net: &Testnet, args: &Args, output: Output) -> Result<Tally, Failure> {
    output.progress(|| format!("\n{} calls, {} at a time:", args.calls, args.concurrency));
    let budget = Arc::new(AtomicU32::new(args.calls));
    let (outcomes, mut outcome) = mpsc::channel(usize::from(args.concurrency));
    let mut callers = JoinSet::new();
    for _ in 0..args.concurrency {
        callers.spawn(call_repeatedly(
            caller(net).clone(),
            budget.clone(),
            outcomes.clone(),
        ));
    }
    drop(outcomes);

    let mut tally = Tally::new()?;
    while let Some(reply) = outcome.recv().await {
        tally.count(reply);
        if tally.calls() == args.calls / 2 {
            let victim = net.kill(VICTIM).await;
            output
                .progress(|| format!("  killed {} after {} calls", victim.short(), tally.calls()));
        }
        if tally.calls().is_multiple_of(PROGRESS_EVERY) {
            output.progress(|| format!("  {tally}"));
        }
    }
    Ok(tally)
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
