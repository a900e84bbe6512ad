//! The crates of the workspace, as `cargo metadata` lists them.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

use crate::cargo::Cargo;

/// The crates of the workspace, sorted by name.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    packages: Vec<Member>,
}

/// One crate of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Feature to what it turns on.
    features: BTreeMap<String, Vec<String>>,
}

impl Workspace {
    pub(crate) fn read(cargo: &Cargo) -> anyhow::Result<Self> {
        let json = cargo.output(&["metadata", "--no-deps", "--format-version", "1"])?;
        Self::parse(&json)
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.packages
    }

    fn parse(json: &str) -> anyhow::Result<Self> {
        let mut workspace: Self =
            serde_json::from_str(json).context("cargo metadata printed something unexpected")?;
        workspace.packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(workspace)
    }
}

impl Member {
    /// Whether anything can be turned off or on: without features both builds are one.
    pub(crate) fn has_features(&self) -> bool {
        !self.features.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Workspace;

    #[test]
    fn members_come_sorted_and_know_whether_they_have_features() {
        let json = r#"{"packages":[
            {"name":"b","features":{"default":["x"],"x":[]},"version":"1.0.0"},
            {"name":"a","features":{}}
        ],"version":1}"#;
        let workspace = Workspace::parse(json).unwrap();
        let seen: Vec<_> = workspace
            .members()
            .iter()
            .map(|member| (member.name.as_str(), member.has_features()))
            .collect();
        assert_eq!(seen, [("a", false), ("b", true)]);
    }

    #[test]
    fn something_else_than_metadata_is_an_error() {
        assert!(Workspace::parse("[]").is_err());
    }
}
