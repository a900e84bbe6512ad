//! Events of the layers below, on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

/// Starts printing events: warnings, or more with every `-v`; `RUST_LOG` overrides both.
///
/// With JSON there are no warnings unless they are asked for: what a program reads from standard
/// error is the failure, one object.
pub(crate) fn start(verbose: u8, json: bool) {
    let level = match (verbose, json) {
        (0, true) => "off",
        (0, false) => "warn",
        (1, _) => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(format!(
            "off,{}",
            MACULA_CRATES
                .map(|name| format!("{name}={level}"))
                .join(",")
        ))
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .compact()
        .init();
}

const MACULA_CRATES: [&str; 5] = [
    "macula_client",
    "macula_rpc",
    "macula_registry",
    "macula_dht",
    "macula_transport",
];
