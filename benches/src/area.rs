//! What is measured in each area.

mod core;
mod dht;
pub mod registry;
pub mod rpc;
mod transport;

use std::env;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use tokio::runtime::Builder;

use crate::figure::Area;
use crate::measurement::Measurement;

impl Area {
    /// What is measured there: in every session, or in a full one.
    pub fn measurements(self, full: bool) -> impl Iterator<Item = &'static Measurement> {
        let (short, long): (&[&[Measurement]], &[&[Measurement]]) = match self {
            Self::Core => (&[core::MEASUREMENTS], &[]),
            Self::Transport => (&[transport::MEASUREMENTS], transport::LONG),
            Self::Dht => (dht::MEASUREMENTS, dht::LONG),
            Self::Registry => (registry::MEASUREMENTS, &[]),
            Self::Rpc => (rpc::MEASUREMENTS, &[]),
        };
        let long = if full { long } else { &[] };
        short.iter().chain(long).copied().flatten()
    }
}

/// What several figures are read off, measured with the first of them.
fn measured_once<T>(
    cell: &'static OnceLock<T>,
    measure: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<&'static T> {
    if let Some(measured) = cell.get() {
        return Ok(measured);
    }
    let measured = measure()?;
    Ok(cell.get_or_init(|| measured))
}

/// What a program of this crate has counted, whose allocator counts: in this one it would slow
/// whatever is measured.
fn counted_by(program: &str) -> anyhow::Result<String> {
    let output = counting(program).output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs such a program; what is appended are its arguments.
pub(crate) fn counting(program: &str) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--quiet", "--release", "--package", "benches"])
        .args(["--bin", program, "--"]);
    command
}

/// Runs a future where time passes only while everybody waits.
fn on_paused_clock<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    runtime.block_on(future)
}
