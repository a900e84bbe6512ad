//! Idle connections, and what they cost who holds them.
//!
//! The other ends are in other processes, so that only one end is counted, and every count starts
//! from a new heap.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use macula_transport::{Endpoint, Executor};
use s2n_quic::provider::congestion_controller::Cubic;
use s2n_quic::{Client, Connection};
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::{Crowd, Part, Script};
use crate::fixture::holding_node;
use crate::raw_quic;

/// Connections that come before what is counted: sockets' buffers are touched once, and what a
/// handshake needs is used again by the next.
const WARM_UP: usize = 200;

/// How long to wait until nothing is on its way any more.
const SETTLE: Duration = Duration::from_millis(800);

/// What was held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// By how much the process grew for each connection.
    pub bytes_per_connection: f64,
    /// How many were open at the end.
    pub connections: f64,
}

impl Held {
    /// Lets a process hold connections to these addresses.
    ///
    /// # Errors
    /// When it cannot be started, or does not reach them.
    pub fn by(holder: Part, peers: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut player = holder.start()?;
        let held = player.ask(&peers)?;
        player.end()?;
        Ok(held)
    }
}

pub(super) fn play_endpoint(script: Script<impl BufRead, impl Write>) -> anyhow::Result<()> {
    play(script, async || {
        Ok(OurHolder(holding_node(Executor::Current).await?))
    })
}

pub(super) fn play_raw(script: Script<impl BufRead, impl Write>) -> anyhow::Result<()> {
    play(script, async || RawHolder::start())
}

/// Holds connections to the addresses that come in, all on one thread, and says what they cost.
fn play<H: Holder>(
    mut script: Script<impl BufRead, impl Write>,
    start: impl AsyncFnOnce() -> anyhow::Result<H>,
) -> anyhow::Result<()> {
    let peers: Vec<SocketAddr> = script.hear()?.context("which peers?")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let held = runtime.block_on(async { grown(start().await?, &peers).await })?;
    script.say(&held)
}

/// Somebody who holds connections.
trait Holder {
    /// Connects to the n-th peer and keeps the connection.
    async fn connect(&mut self, n: u16, peer: SocketAddr) -> anyhow::Result<()>;

    /// How many are open.
    fn connections(&mut self) -> usize;

    /// Tells the peers that it goes.
    async fn close(self);
}

async fn grown(mut holder: impl Holder, peers: &[SocketAddr]) -> anyhow::Result<Held> {
    let mut before = 0.0;
    for (n, peer) in (0..).zip(peers) {
        if usize::from(n) == WARM_UP {
            sleep(SETTLE).await;
            before = resident_bytes()?;
        }
        holder.connect(n, *peer).await?;
    }
    sleep(SETTLE).await;
    let grown_for = u32::try_from(peers.len().saturating_sub(WARM_UP))?;
    let held = Held {
        bytes_per_connection: (resident_bytes()? - before) / f64::from(grown_for),
        connections: f64::from(u32::try_from(holder.connections())?),
    };
    holder.close().await;
    Ok(held)
}

/// Memory that this process has to itself and that is no file's.
fn resident_bytes() -> anyhow::Result<f64> {
    super::memory_bytes("RssAnon:")
}

struct OurHolder(Endpoint);

impl Holder for OurHolder {
    async fn connect(&mut self, n: u16, peer: SocketAddr) -> anyhow::Result<()> {
        self.0.connect(&Crowd::target(n, peer)).await?;
        Ok(())
    }

    fn connections(&mut self) -> usize {
        self.0.stats().connections
    }

    async fn close(self) {
        self.0.shutdown().await;
    }
}

struct RawHolder {
    client: Client,
    connections: Vec<Connection>,
}

impl RawHolder {
    fn start() -> anyhow::Result<Self> {
        Ok(Self {
            client: raw_quic::client(Cubic::default())?,
            connections: Vec::new(),
        })
    }
}

impl Holder for RawHolder {
    async fn connect(&mut self, _: u16, peer: SocketAddr) -> anyhow::Result<()> {
        let connection = raw_quic::connect(&self.client, peer).await?;
        self.connections.push(connection);
        Ok(())
    }

    fn connections(&mut self) -> usize {
        let open = self.connections.iter_mut();
        open.filter_map(|connection| connection.ping().ok()).count()
    }

    async fn close(mut self) {
        self.connections.clear();
        // An error says that they have ended otherwise.
        let _ = self.client.wait_idle().await;
    }
}
