//! Parts of a measurement that play in a process of their own.
//!
//! A node that is counted, or that is many, has a heap of its own there, whatever was measured
//! before in this one. The two processes exchange JSON, a line for each message; the part ends with
//! its input.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod crowd;
mod holder;
mod idle_machines;
mod provider;
mod simulator;

pub use crowd::Crowd;
pub use holder::{Held, Holder};
pub use idle_machines::bytes_per_machine;
pub use provider::{Harm, Provider};
pub use simulator::{Cost, LookupCost, Simulated};

/// Who plays there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Many nodes that wait to be dialled.
    Crowd,
    /// Machines of nodes that know nobody.
    IdleMachines,
    /// A provider of a service.
    Provider,
    /// A simulated network.
    Simulator,
}

impl Part {
    /// Plays it in this process, until the input ends.
    ///
    /// # Errors
    /// Whatever kept it from being played.
    pub fn play(self, input: impl BufRead, output: impl Write) -> anyhow::Result<()> {
        let script = Script { input, output };
        match self {
            Self::Crowd => crowd::play(script),
            Self::IdleMachines => idle_machines::play(script),
            Self::Provider => provider::play(script),
            Self::Simulator => simulator::play(script),
        }
    }

    /// Starts it in another process of this program.
    fn start(self) -> anyhow::Result<Player> {
        self.start_in(&std::env::current_exe()?)
    }

    /// Starts it in a process of a program that plays parts as this one does.
    fn start_in(self, program: &Path) -> anyhow::Result<Player> {
        let name = self.to_possible_value().context("a part without a name")?;
        Player::start(Command::new(program).args(["--part", name.get_name()]))
    }
}

/// What is said and heard.
struct Script<I, O> {
    input: I,
    output: O,
}

impl<I: BufRead, O: Write> Script<I, O> {
    fn say(&mut self, message: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.output, message)?;
        self.output.write_all(b"\n")?;
        Ok(self.output.flush()?)
    }

    /// `None` once the other process says no more.
    fn hear<T: DeserializeOwned>(&mut self) -> anyhow::Result<Option<T>> {
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line)?))
    }
}

/// Another process that plays a part. Dropping it ends the part and waits for that.
struct Player {
    process: Child,
    /// `None` once it has been told to end.
    script: Option<Script<BufReader<ChildStdout>, ChildStdin>>,
}

impl Player {
    fn start(program: &mut Command) -> anyhow::Result<Self> {
        let piped = program.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.spawn()?;
        let output = process.stdin.take().context("no pipe to a part")?;
        let input = process.stdout.take().context("no pipe from a part")?;
        Ok(Self {
            process,
            script: Some(Script {
                input: BufReader::new(input),
                output,
            }),
        })
    }

    /// Says something and waits for what comes back.
    fn ask<T: DeserializeOwned>(&mut self, message: &impl Serialize) -> anyhow::Result<T> {
        let script = self.script.as_mut().context("a part that has ended")?;
        script.say(message)?;
        script.hear()?.context("a part broke off")
    }

    /// Waits until it has ended well.
    fn end(mut self) -> anyhow::Result<()> {
        self.script = None;
        let status = self.process.wait()?;
        ensure!(status.success(), "a part failed: {status}");
        Ok(())
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Closes the pipes, which is its cue.
        self.script = None;
        // An error says that it is gone already.
        let _ = self.process.wait();
    }
}

/// What the system says about the memory of this process under a name that ends in a colon.
fn memory_bytes(name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.context("the system does not say")?.trim();
    let kib = kib.trim_end_matches(" kB").parse::<u32>()?;
    Ok(f64::from(kib) * 1024.0)
}
