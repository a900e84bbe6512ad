//! Many nodes that wait to be dialled.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use macula_core::{Contact, DialTarget, NodeId};
use macula_transport::{Endpoint, Executor, NodeRuntime};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Part, Player, Script};
use crate::fixture::{crowd_key, crowd_node, give_way};

/// How long their connections may take to end.
const DISPERSAL: Duration = Duration::from_secs(10);

/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Listening nodes of different identities, in a process and on a thread of their own.
pub struct Crowd {
    player: Player,
    addresses: Vec<SocketAddr>,
}

impl Crowd {
    /// Starts so many.
    ///
    /// # Errors
    /// When there are not enough sockets.
    pub fn start(count: u16) -> anyhow::Result<Self> {
        let mut player = Part::Crowd.start()?;
        let addresses: Vec<SocketAddr> = player.ask(&count)?;
        ensure!(addresses.len() == usize::from(count), "some are missing");
        Ok(Self { player, addresses })
    }

    /// Where each listens, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What to dial to reach the n-th of a crowd, of which the address is known.
    pub fn target(n: u16, address: SocketAddr) -> DialTarget {
        DialTarget::from(Self::contact(n, address))
    }

    /// The same, to ask it.
    pub fn contact(n: u16, address: SocketAddr) -> Contact {
        let node_id: NodeId = crowd_key(n).node_id();
        Contact::new(node_id, [address])
    }

    /// Lets a node dial all of them at once, in tasks on the runtime that the future runs on.
    pub fn dialled_by(
        &self,
        dialler: &Endpoint,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
        let numbered = (0..).zip(&self.addresses);
        let targets: Vec<_> = numbered.map(|(n, at)| Self::target(n, *at)).collect();
        let dialler = dialler.clone();
        async move {
            let mut dials = JoinSet::new();
            for target in targets {
                let dialler = dialler.clone();
                dials.spawn(async move { dialler.connect(&target).await });
            }
            while let Some(dial) = dials.join_next().await {
                dial?.context("a cold peer was not reached")?;
            }
            Ok(())
        }
    }

    /// Waits until nobody is connected to any of them.
    ///
    /// # Errors
    /// When somebody stays.
    pub fn dispersed(&mut self) -> anyhow::Result<()> {
        let is_dispersed: bool = self.player.ask(&())?;
        ensure!(is_dispersed, "connections do not end");
        Ok(())
    }
}

/// Says where the nodes are, and then, whenever it is asked, whether they are alone.
pub(super) fn play(mut script: Script<impl BufRead, impl Write>) -> anyhow::Result<()> {
    let count: u16 = script.hear()?.context("how many?")?;
    give_way()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let home = Executor::Own.start()?;
    let nodes = runtime.block_on(gather(&home, count))?;
    let addresses = nodes.iter().map(Endpoint::addresses);
    let addresses: Vec<SocketAddr> = addresses
        .filter_map(|addresses| addresses.iter().next().copied())
        .collect();
    script.say(&addresses)?;
    while let Some(()) = script.hear()? {
        script.say(&runtime.block_on(are_alone(&nodes)))?;
    }
    Ok(())
}

async fn gather(home: &NodeRuntime, count: u16) -> anyhow::Result<Vec<Endpoint>> {
    let mut nodes = Vec::with_capacity(count.into());
    for n in 0..count {
        nodes.push(crowd_node(home, n).await?);
    }
    Ok(nodes)
}

async fn are_alone(nodes: &[Endpoint]) -> bool {
    let deadline = Instant::now() + DISPERSAL;
    let is_alone = |node: &Endpoint| node.stats().connections == 0;
    while !nodes.iter().all(is_alone) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}
