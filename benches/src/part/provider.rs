//! A provider of a service, as a program of its own is one.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use macula_client::{Advertisement, AdvertisementState, Client};
use macula_core::{Contact, NodeId, ServiceName};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Builder;

use super::{Part, Player, Script};

/// A process that returns the arguments of every call of [`Provider::service`].
pub struct Provider {
    player: Player,
    node_id: NodeId,
}

/// How a process comes to harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It is killed: `kill -9`. Its sockets are gone, and nobody says goodbye.
    Killed,
    /// It is stopped: `SIGSTOP`. Its sockets take in what comes, and nobody answers it.
    Stopped,
}

impl Provider {
    /// What it provides.
    ///
    /// # Errors
    /// Never: it is a name.
    pub fn service() -> anyhow::Result<ServiceName> {
        Ok("bench.failover.echo".parse()?)
    }

    /// Starts it as a part that `program` plays, and waits until it has told the network which
    /// this node belongs to.
    ///
    /// # Errors
    /// When it cannot be started, or does not find the network.
    pub fn start(program: &Path, bootstrap: &Contact) -> anyhow::Result<Self> {
        let mut player = Part::Provider.start_in(program)?;
        let node_id = player.ask(bootstrap)?;
        Ok(Self { player, node_id })
    }

    /// Who it is.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Does harm to it, from which it does not recover.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn suffer(&mut self, harm: Harm) -> anyhow::Result<()> {
        match harm {
            Harm::Killed => Ok(self.player.process.kill()?),
            Harm::Stopped => {
                let pid = Pid::from_child(&self.player.process);
                Ok(kill_process(pid, Signal::STOP)?)
            }
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // One that is stopped would not notice its cue. An error says that it is gone already.
        let _ = self.player.process.kill();
    }
}

pub(super) fn play(mut script: Script<impl BufRead, impl Write>) -> anyhow::Result<()> {
    let bootstrap: Contact = script.hear()?.context("which network?")?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (client, advertisement) = runtime.block_on(provide(bootstrap))?;
    let state = advertisement.state();
    let is_published = matches!(state, AdvertisementState::Published { .. });
    ensure!(is_published, "not published: {state:?}");
    script.say(&client.node_id())?;
    let cue: Option<()> = script.hear()?;
    ensure!(cue.is_none(), "there is nothing more to say");
    Ok(())
}

async fn provide(bootstrap: Contact) -> anyhow::Result<(Client, Advertisement)> {
    let client = Client::builder()
        .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .bootstrap([bootstrap])
        .connect()
        .await?;
    let echo = |body: Bytes| async move { Ok(body) };
    let advertisement = client.advertise(Provider::service()?, echo).await?;
    Ok((client, advertisement))
}
