//! Whether the dependencies between our crates are the arrows of the design, and no others.
//!
//! [`rules`] is the design as a table, [`tree`] what cargo says of one crate, and
//! [`violations`] compares the two.

mod rules;
mod tree;

#[cfg(test)]
mod tests;

use std::fmt;

use anyhow::bail;

use self::rules::{Extent, LAYERS, Layer, TOOLS, Uses, When};
use self::tree::{Features, Tree};
use crate::cargo::Cargo;
use crate::workspace::Workspace;

/// Checks every crate of the workspace with its features off and with all of them on.
pub(crate) fn check(cargo: &Cargo) -> anyhow::Result<()> {
    let mut found = Vec::new();
    let workspace = Workspace::read(cargo)?;
    for member in workspace.members() {
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == member.name) else {
            found.push(Violation::Unknown(member.name.clone()));
            continue;
        };
        for features in [Features::Off, Features::On] {
            found.extend(violations(layer, &Tree::read(cargo, layer.name, features)?));
        }
    }
    report(&found)
}

fn report(found: &[Violation]) -> anyhow::Result<()> {
    for violation in found {
        println!("forbidden: {violation}");
    }
    if !found.is_empty() {
        bail!("{} forbidden dependencies", found.len());
    }
    println!("the arrows of {} crates hold", LAYERS.len());
    Ok(())
}

/// Something in the dependencies that the design rules out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Violation {
    /// A crate of the workspace that the table does not know.
    Unknown(String),
    /// A dependency between two of ours that is no arrow.
    Arrow {
        from: &'static str,
        to: String,
        features: Features,
    },
    /// More than the trait of a crate of which only the trait may be used.
    MoreThanTrait {
        from: &'static str,
        to: &'static str,
        turned_on: String,
        features: Features,
    },
    /// A package that must not be anywhere below the crate.
    Banned {
        from: &'static str,
        package: &'static str,
        features: Features,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "{name} is in no layer"),
            Self::Arrow { from, to, features } => write!(f, "{from} -> {to} ({features})"),
            Self::MoreThanTrait {
                from,
                to,
                turned_on,
                features,
            } => write!(
                f,
                "{from} -> {to} beyond its trait, through its features {turned_on} ({features})"
            ),
            Self::Banned {
                from,
                package,
                features,
            } => write!(f, "{from} holds {package} in its tree ({features})"),
        }
    }
}

/// What in the tree of a crate its layer rules out.
fn violations(layer: &Layer, tree: &Tree) -> Vec<Violation> {
    let mut found = forbidden_arrows(layer, tree);
    found.extend(beyond_traits(layer, tree));
    found.extend(banned_packages(layer, tree));
    found
}

fn forbidden_arrows(layer: &Layer, tree: &Tree) -> Vec<Violation> {
    tree.direct()
        .filter(|to| LAYERS.iter().any(|layer| layer.name == *to))
        .filter(|to| !may_use(layer, to, tree.features))
        .map(|to| Violation::Arrow {
            from: layer.name,
            to: to.to_owned(),
            features: tree.features,
        })
        .collect()
}

fn may_use(layer: &Layer, to: &str, features: Features) -> bool {
    match layer.uses {
        Uses::Anything => !TOOLS.contains(&to),
        Uses::Only(arrows) => arrows
            .iter()
            .any(|arrow| arrow.to == to && arrow.when.covers(features)),
    }
}

fn beyond_traits(layer: &Layer, tree: &Tree) -> Vec<Violation> {
    let Uses::Only(arrows) = layer.uses else {
        return Vec::new();
    };
    arrows
        .iter()
        .filter(|arrow| arrow.extent == Extent::TraitOnly)
        .filter_map(|arrow| {
            let turned_on = tree.features_of(arrow.to)?;
            (!turned_on.is_empty()).then(|| Violation::MoreThanTrait {
                from: layer.name,
                to: arrow.to,
                turned_on: turned_on.to_owned(),
                features: tree.features,
            })
        })
        .collect()
}

fn banned_packages(layer: &Layer, tree: &Tree) -> Vec<Violation> {
    layer
        .never
        .iter()
        .filter(|ban| ban.when.covers(tree.features) && tree.holds(ban.package))
        .map(|ban| Violation::Banned {
            from: layer.name,
            package: ban.package,
            features: tree.features,
        })
        .collect()
}

impl When {
    fn covers(self, features: Features) -> bool {
        match self {
            Self::Always => true,
            Self::FeaturesOff => features == Features::Off,
            Self::FeaturesOn => features == Features::On,
        }
    }
}
