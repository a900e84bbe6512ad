//! A forbidden arrow is reported, an allowed one is not.

use super::rules::{LAYERS, Layer};
use super::tree::{Features, Tree};
use super::{Violation, report, violations};

fn layer(name: &str) -> &'static Layer {
    LAYERS.iter().find(|layer| layer.name == name).unwrap()
}

fn found(name: &str, features: Features, below: &[&str]) -> Vec<Violation> {
    let mut lines = vec![format!("0|{name} v0.0.1 (/somewhere/{name})|")];
    lines.extend(below.iter().map(|&line| line.to_owned()));
    let tree = Tree::parse(&lines.join("\n"), features).unwrap();
    violations(layer(name), &tree)
}

#[test]
fn allowed_arrows_are_no_violation() {
    let below = [
        "1|macula-core v0.0.1 (/somewhere/macula-core)|",
        "1|macula-transport v0.0.1 (/somewhere/macula-transport)|",
        "2|macula-core v0.0.1 (/somewhere/macula-core)| (*)",
        "1|tokio v1.54.1|rt,sync",
    ];
    assert_eq!(found("macula-dht", Features::On, &below), []);
}

#[test]
fn arrow_that_is_not_in_the_table_is_reported() {
    let below = ["1|macula-dht v0.0.1 (/somewhere/macula-dht)|"];
    assert_eq!(
        found("macula-transport", Features::Off, &below),
        [Violation::Arrow {
            from: "macula-transport",
            to: "macula-dht".to_owned(),
            features: Features::Off,
        }]
    );
}

#[test]
fn arrow_upwards_is_reported() {
    let below = ["1|macula-client v0.0.1 (/somewhere/macula-client)|"];
    let violations = found("macula-rpc", Features::On, &below);
    assert_eq!(violations.len(), 1);
    assert_eq!(
        violations[0].to_string(),
        "macula-rpc -> macula-client (features on)"
    );
}

#[test]
fn arrow_of_the_driver_is_reported_without_the_driver() {
    let below = ["1|macula-transport v0.0.1 (/somewhere/macula-transport)|"];
    assert_eq!(
        found("macula-dht", Features::Off, &below),
        [
            Violation::Arrow {
                from: "macula-dht",
                to: "macula-transport".to_owned(),
                features: Features::Off,
            },
            Violation::Banned {
                from: "macula-dht",
                package: "macula-transport",
                features: Features::Off,
            },
        ]
    );
}

#[test]
fn trait_with_a_driver_behind_it_is_reported() {
    let below = ["1|macula-dht v0.0.1 (/somewhere/macula-dht)|driver (*)"];
    assert_eq!(
        found("macula-registry", Features::Off, &below),
        [Violation::MoreThanTrait {
            from: "macula-registry",
            to: "macula-dht",
            turned_on: "driver".to_owned(),
            features: Features::Off,
        }]
    );
}

#[test]
fn bare_trait_is_no_violation() {
    let below = ["1|macula-dht v0.0.1 (/somewhere/macula-dht)|"];
    assert_eq!(found("macula-registry", Features::On, &below), []);
}

#[test]
fn banned_package_is_reported_however_deep_it_lies() {
    let below = [
        "1|innocent v1.0.0|",
        "2|deeper v1.0.0 (proc-macro)|default",
        "3|tokio v1.54.1|",
    ];
    assert_eq!(
        found("macula-core", Features::Off, &below),
        [Violation::Banned {
            from: "macula-core",
            package: "tokio",
            features: Features::Off,
        }]
    );
}

#[test]
fn ours_below_a_dependency_of_ours_is_its_own_affair() {
    let below = [
        "1|macula-registry v0.0.1 (/somewhere/macula-registry)|",
        "2|macula-dht v0.0.1 (/somewhere/macula-dht)|",
    ];
    assert_eq!(found("macula-rpc", Features::On, &below), []);
}

#[test]
fn nobody_depends_on_the_tools() {
    for name in ["macula-cli", "xtask"] {
        let below = ["1|benches v0.0.1 (/somewhere/benches)|"];
        assert_eq!(found(name, Features::Off, &below).len(), 1, "{name}");
    }
}

#[test]
fn a_line_of_another_shape_is_an_error() {
    for text in ["", "macula-core v0.0.1", "x|macula-core v0.0.1|", "1||"] {
        assert!(Tree::parse(text, Features::Off).is_err(), "{text:?}");
    }
}

#[test]
fn the_check_fails_when_something_was_found() {
    assert!(report(&[]).is_ok());
    assert!(report(&[Violation::Unknown("macula-new".to_owned())]).is_err());
}
