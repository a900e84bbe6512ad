//! Starts cargo in the checkout that this program was built from.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The cargo that started us, and the root of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Cargo {
    program: OsString,
    root: PathBuf,
}

impl Cargo {
    /// Finds both in what `cargo run` tells its child.
    pub(crate) fn of_this_checkout() -> anyhow::Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
        let root = Path::new(&manifest)
            .parent()
            .context("xtask has no workspace around it")?
            .to_owned();
        let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Ok(Self { program, root })
    }

    /// Runs cargo, its output going where ours goes.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.run_with(arguments, &[])
    }

    /// The same with environment variables set.
    pub(crate) fn run_with(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        println!("$ cargo {}", arguments.join(" "));
        self.run_silently(arguments, variables)
    }

    /// The same without showing the command, for a child whose output somebody parses.
    pub(crate) fn run_silently(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let status = self
            .command(arguments)
            .envs(variables.iter().copied())
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            bail!("`cargo {}` failed: {status}", arguments.join(" "));
        }
        Ok(())
    }

    /// Runs cargo and returns what it printed on stdout.
    pub(crate) fn output(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .command(arguments)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            bail!("`cargo {}` failed: {}", arguments.join(" "), output.status);
        }
        String::from_utf8(output.stdout).context("cargo printed something else than text")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command
    }
}
