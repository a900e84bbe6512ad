//! Machines of nodes that know nobody yet, and what they cost.

use std::io::{BufRead, Write};

use anyhow::Context;
use macula_core::NodeId;
use macula_dht::kad::{KadConfig, Kademlia, Local};

use super::{Part, Script};

/// Machines that come before what is counted.
const WARM_UP: u32 = 1_000;

/// What one machine costs among so many, in bytes.
///
/// # Errors
/// When the process cannot be started.
pub fn bytes_per_machine(count: u32) -> anyhow::Result<f64> {
    let mut player = Part::IdleMachines.start()?;
    let bytes = player.ask(&count)?;
    player.end()?;
    Ok(bytes)
}

pub(super) fn play(mut script: Script<impl BufRead, impl Write>) -> anyhow::Result<()> {
    let count: u32 = script.hear()?.context("how many?")?;
    let mut machines = Vec::with_capacity(usize::try_from(WARM_UP + count)?);
    let mut before = 0.0;
    for n in 0..WARM_UP + count {
        if n == WARM_UP {
            before = super::memory_bytes("RssAnon:")?;
        }
        machines.push(machine(n)?);
    }
    let grown = super::memory_bytes("RssAnon:")? - before;
    script.say(&(grown / f64::from(count)))
}

fn machine(n: u32) -> anyhow::Result<Kademlia> {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&n.to_be_bytes());
    let local = Local {
        node_id: NodeId::from_bytes(id),
        serves: true,
    };
    Ok(Kademlia::new(KadConfig::default(), local, n.into())?)
}
