//! Counts the allocations in warm requests of 64 bytes, those of the caller and those of the
//! server, for two of the figures. The bodies' own are left out: of each request at both ends, and of
//! each reply at the caller, for the server's is the request's.
//!
//! Each end has a thread to itself, and what is counted is that of a thread. The allocator that
//! counts is that of the whole program, so this is one of its own.

use std::hint::black_box;
use std::io::{self, Write};
use std::thread;

use anyhow::{Context, anyhow, ensure};
use benches::fixture::OneEnd;
use macula_core::Contact;
use tokio::sync::oneshot;

/// Bodies that the caller and the server have to have memory for.
const OF_BODIES: [f64; 2] = [2.0, 1.0];

/// Requests that are counted.
const REQUESTS: usize = 64_000;

/// Requests before that: what is grown once is none of their cost.
const WARM_UP: usize = 12_800;

fn main() -> anyhow::Result<()> {
    // An allocator that does not count would find none either.
    let counted = allocation_counter::measure(|| drop(black_box(Box::new(0_u64))));
    ensure!(counted.count_total == 1, "allocations are not counted");
    let (started, contact) = oneshot::channel();
    let (warm, is_warm) = oneshot::channel();
    let (counting, is_counting) = oneshot::channel();
    let (done, is_done) = oneshot::channel();
    let server = thread::spawn(move || serve(started, (is_warm, counting), is_done));
    let contact = contact.blocking_recv().context("no server")?;
    let caller = OneEnd::asking()?;
    caller.ask(&contact, WARM_UP)?;
    let _ = warm.send(());
    caller.work_until(is_counting)?;
    let mut asked = Ok(());
    let of_caller = allocation_counter::measure(|| asked = caller.ask(&contact, REQUESTS));
    asked?;
    let _ = done.send(());
    let of_server = server
        .join()
        .map_err(|_| anyhow!("the server panicked"))??;
    let counted = [of_caller.count_total, of_server];
    writeln!(
        io::stdout(),
        "{}",
        serde_json::to_string(&per_request(counted))?
    )?;
    Ok(())
}

fn serve(
    started: oneshot::Sender<Contact>,
    (is_warm, counting): (oneshot::Receiver<()>, oneshot::Sender<()>),
    is_done: oneshot::Receiver<()>,
) -> anyhow::Result<u64> {
    let server = OneEnd::answering()?;
    let _ = started.send(server.contact());
    server.work_until(is_warm)?;
    let mut ended = Ok(());
    let counted = allocation_counter::measure(|| {
        let _ = counting.send(());
        ended = server.work_until(is_done);
    });
    ended?;
    Ok(counted.count_total)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn per_request(counted: [u64; 2]) -> [f64; 2] {
    let [caller, server] = counted.map(|count| count as f64 / REQUESTS as f64);
    [caller - OF_BODIES[0], server - OF_BODIES[1]]
}
