//! The steps of CI.

use std::fmt;

use clap::ValueEnum;

use crate::cargo::Cargo;
use crate::layering;
use crate::workspace::Workspace;

/// One check of the whole workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Formatting
    Fmt,
    /// Dependencies between our crates
    Layering,
    /// Lints
    Clippy,
    /// Documentation
    Docs,
    /// Every crate by itself
    Alone,
    /// Tests
    Test,
}

impl Step {
    /// In the order they run: the quick ones first.
    pub(crate) const ALL: &[Self] = &[
        Self::Fmt,
        Self::Layering,
        Self::Clippy,
        Self::Docs,
        Self::Alone,
        Self::Test,
    ];

    /// What holds when the step passes.
    pub(crate) fn claim(self) -> &'static str {
        match self {
            Self::Fmt => "the code is formatted",
            Self::Layering => "dependencies are the arrows of the design",
            Self::Clippy => "no lint complains, in tests and benches neither",
            Self::Docs => "the documentation builds and its links lead somewhere",
            Self::Alone => "every crate builds alone, with and without its default features",
            Self::Test => "the tests and the examples in the documentation pass",
        }
    }

    pub(crate) fn run(self, cargo: &Cargo) -> anyhow::Result<()> {
        match self {
            Self::Fmt => cargo.run(&["fmt", "--all", "--check"]),
            Self::Layering => layering::check(cargo),
            Self::Clippy => clippy(cargo),
            Self::Docs => docs(cargo),
            Self::Alone => alone(cargo),
            Self::Test => cargo.run(&["test", "--workspace", "--no-fail-fast"]),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("step", |value| value.get_name()))
    }
}

fn clippy(cargo: &Cargo) -> anyhow::Result<()> {
    cargo.run(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ])
}

fn docs(cargo: &Cargo) -> anyhow::Result<()> {
    cargo.run_with(
        &["doc", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "--deny warnings")],
    )
}

/// In a build of the workspace one crate's features hide what another forgot to ask for.
fn alone(cargo: &Cargo) -> anyhow::Result<()> {
    for member in Workspace::read(cargo)?.members() {
        cargo.run(&["check", "--package", &member.name])?;
        if member.has_features() {
            cargo.run(&["check", "--package", &member.name, "--no-default-features"])?;
        }
    }
    Ok(())
}
