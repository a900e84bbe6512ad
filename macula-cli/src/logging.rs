//! Events of the layers below, on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

/// Starts printing events: more with every `-v`, and unasked only `warnings`; `RUST_LOG` overrides
/// both.
pub(crate) fn start(verbose: u8, warnings: bool) {
    let level = match (verbose, warnings) {
        (0, false) => "off",
        (0, true) => "warn",
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
