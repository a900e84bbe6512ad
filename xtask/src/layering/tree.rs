//! What is below one crate, as `cargo tree` prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, ensure};

use crate::cargo::Cargo;

/// With which of its features a crate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Features {
    /// `--no-default-features`
    Off,
    /// `--all-features`
    On,
}

impl Features {
    fn flag(self) -> &'static str {
        match self {
            Self::Off => "--no-default-features",
            Self::On => "--all-features",
        }
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "features off",
            Self::On => "features on",
        })
    }
}

/// Everything below one crate, without what only its tests or its build script need.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) features: Features,
    /// Names of the direct dependencies.
    direct: BTreeSet<String>,
    /// Package to its features that are on, as a list with commas.
    packages: BTreeMap<String, String>,
}

impl Tree {
    pub(super) fn read(cargo: &Cargo, name: &str, features: Features) -> anyhow::Result<Self> {
        let text = cargo.output(&[
            "tree",
            "--package",
            name,
            "--edges",
            "normal",
            "--prefix",
            "depth",
            "--format",
            "|{p}|{f}",
            features.flag(),
        ])?;
        Self::parse(&text, features).with_context(|| format!("the tree of {name}"))
    }

    pub(super) fn parse(text: &str, features: Features) -> anyhow::Result<Self> {
        let mut tree = Self {
            features,
            direct: BTreeSet::new(),
            packages: BTreeMap::new(),
        };
        for line in text.lines().filter(|line| !line.is_empty()) {
            tree.add(line)
                .with_context(|| format!("cannot read `{line}`"))?;
        }
        ensure!(!tree.packages.is_empty(), "cargo printed no tree");
        Ok(tree)
    }

    /// The direct dependencies, sorted.
    pub(super) fn direct(&self) -> impl Iterator<Item = &str> {
        self.direct.iter().map(String::as_str)
    }

    /// Whether a package is anywhere below the crate.
    pub(super) fn holds(&self, package: &str) -> bool {
        self.packages.contains_key(package)
    }

    /// The features of a package that are on; `None` if it is not below the crate.
    pub(super) fn features_of(&self, package: &str) -> Option<&str> {
        self.packages.get(package).map(String::as_str)
    }

    /// Takes in a line such as `1|bytes v1.12.2|serde,std (*)`.
    fn add(&mut self, line: &str) -> anyhow::Result<()> {
        let mut fields = line.split('|');
        let (Some(depth), Some(package), Some(turned_on)) =
            (fields.next(), fields.next(), fields.next())
        else {
            anyhow::bail!("it has too few fields");
        };
        let depth: usize = depth.parse().context("it has no depth")?;
        let name = package
            .split_whitespace()
            .next()
            .context("it has no package")?;
        if depth == 1 {
            self.direct.insert(name.to_owned());
        }
        let turned_on = turned_on.trim_end_matches("(*)").trim();
        self.packages.insert(name.to_owned(), turned_on.to_owned());
        Ok(())
    }
}
