//! Events of the layers below, on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

/// Starts printing events: warnings, or more with every `-v`; `RUST_LOG` overrides both.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(format!(
            "error,{}",
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
