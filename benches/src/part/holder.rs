//! Idle connections, each of which has carried a request, and what they keep allocated.
//!
//! Who holds them is a program whose allocator counts, with all of it on one thread; the other ends
//! are in other processes, so that only one end is counted.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::ValueEnum;
use macula_transport::{Endpoint, Executor};
use s2n_quic::provider::congestion_controller::Cubic;
use s2n_quic::{Client, Connection};
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::{Crowd, Player, Script};
use crate::area::counting;
use crate::fixture::{echoed, holding_node};
use crate::raw_quic;

/// Who holds connections, all on one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Holder {
    /// An endpoint.
    Endpoint,
    /// An s2n-quic client.
    Raw,
}

/// Connections that come before what is counted: some is grown once.
const WARM_UP: usize = 200;

/// How long to wait until nothing is on its way any more, and lanes that nobody uses have ended.
const SETTLE: Duration = Duration::from_millis(2500);

/// What was held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// What each connection keeps allocated. The process grows by more: a heap keeps what a request
    /// needed for a while, for whoever needs as much next.
    pub bytes_per_connection: f64,
    /// How many were open at the end.
    pub connections: f64,
}

impl Held {
    /// Lets a process hold connections to these addresses.
    ///
    /// # Errors
    /// When it cannot be started, or does not reach them.
    pub fn by(holder: Holder, peers: &[SocketAddr]) -> anyhow::Result<Self> {
        let name = holder
            .to_possible_value()
            .context("a holder without a name")?;
        let mut player = Player::start(counting("idle_connections").arg(name.get_name()))?;
        let held = player.ask(&peers)?;
        player.end()?;
        Ok(held)
    }
}

impl Holder {
    /// Holds connections to the addresses that come in, and says what they cost: `kept` does some
    /// work and tells how many bytes more are allocated after it.
    ///
    /// # Errors
    /// When a peer is not reached.
    pub fn play(
        self,
        input: impl BufRead,
        output: impl Write,
        kept: impl FnOnce(&mut dyn FnMut()) -> f64,
    ) -> anyhow::Result<()> {
        let mut script = Script { input, output };
        let peers: Vec<SocketAddr> = script.hear()?.context("which peers?")?;
        let held = match self {
            Self::Endpoint => held(async || OurHolder::start().await, peers, kept),
            Self::Raw => held(async || RawHolder::start(), peers, kept),
        };
        script.say(&held?)
    }
}

fn held<H: Holds>(
    start: impl AsyncFnOnce() -> anyhow::Result<H>,
    peers: Vec<SocketAddr>,
    kept: impl FnOnce(&mut dyn FnMut()) -> f64,
) -> anyhow::Result<Held> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let numbered: Vec<_> = (0..).zip(peers).collect();
    let (first, counted) = numbered.split_at(WARM_UP.min(numbered.len()));
    let mut holder = runtime.block_on(start())?;
    runtime.block_on(hold(&mut holder, first))?;
    let mut done = Ok(());
    let kept_bytes = kept(&mut || done = runtime.block_on(hold(&mut holder, counted)));
    done?;
    let held = Held {
        bytes_per_connection: kept_bytes / f64::from(u32::try_from(counted.len())?),
        connections: f64::from(u32::try_from(holder.connections())?),
    };
    runtime.block_on(holder.close());
    Ok(held)
}

/// Connects to all, makes a request of each, and waits until they are idle.
async fn hold(holder: &mut impl Holds, peers: &[(u16, SocketAddr)]) -> anyhow::Result<()> {
    for (n, peer) in peers {
        holder.connect(*n, *peer).await?;
    }
    sleep(SETTLE).await;
    Ok(())
}

/// Holds connections.
trait Holds {
    /// Connects to the n-th peer, makes one request, and keeps the connection.
    async fn connect(&mut self, n: u16, peer: SocketAddr) -> anyhow::Result<()>;

    /// How many are open.
    fn connections(&mut self) -> usize;

    /// Tells the peers that it goes.
    async fn close(self);
}

/// What each connection carries before it is idle.
fn body() -> Bytes {
    Bytes::from_static(&[0x5a; 64])
}

struct OurHolder(Endpoint);

impl OurHolder {
    async fn start() -> anyhow::Result<Self> {
        Ok(Self(holding_node(Executor::Current).await?))
    }
}

impl Holds for OurHolder {
    async fn connect(&mut self, n: u16, peer: SocketAddr) -> anyhow::Result<()> {
        self.0.connect(&Crowd::target(n, peer)).await?;
        echoed(&self.0, &Crowd::contact(n, peer), body()).await
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

impl Holds for RawHolder {
    async fn connect(&mut self, _: u16, peer: SocketAddr) -> anyhow::Result<()> {
        let connection = raw_quic::connect(&self.client, peer).await?;
        raw_quic::request(connection.handle(), body()).await?;
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
