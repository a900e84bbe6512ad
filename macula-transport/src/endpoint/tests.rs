//! The bounds and limits in the specification are those of the code.

use std::fs;
use std::path::{Path, PathBuf};

use super::calls::{MAX_LANE_BODY_BYTES, MAX_LANES};
use super::frame::MAX_EXTENSION_BLOCK_BYTES;
use super::lane::{FRAME_PATIENCE, MIN_PROGRESS_BYTES};
use super::turns::MAX_ALONE;
use super::{EndpointConfig, EndpointStats};
use crate::TransportStats;

fn specification() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SPEC.md");
    fs::read_to_string(path).unwrap()
}

/// Whether a table has a row for this, with its value.
fn has_row(text: &str, name: &str, value: &str) -> bool {
    let row = format!("\n| `{name}` | {value} |");
    text.contains(&row)
}

#[test]
fn the_bounds_in_the_specification_are_those_of_the_code() {
    let text = specification();
    let bounds = [
        (
            "MAX_EXTENSION_BLOCK_BYTES",
            MAX_EXTENSION_BLOCK_BYTES.to_string(),
        ),
        ("MAX_LANES", MAX_LANES.to_string()),
        ("MAX_LANE_BODY_BYTES", MAX_LANE_BODY_BYTES.to_string()),
        ("MAX_ALONE", MAX_ALONE.to_string()),
        ("FRAME_PATIENCE", format!("{} s", FRAME_PATIENCE.as_secs())),
        ("MIN_PROGRESS_BYTES", MIN_PROGRESS_BYTES.to_string()),
    ];
    for (name, value) in bounds {
        assert!(has_row(&text, name, &value), "{name}: {value}");
    }
}

#[test]
fn the_limits_in_the_specification_are_the_defaults_of_the_settings() {
    let text = specification();
    let config = EndpointConfig::default();
    let limits = [
        ("max_connections", config.max_connections.to_string()),
        ("max_handshakes", config.max_handshakes.to_string()),
        ("max_missed_pings", config.max_missed_pings.to_string()),
        ("max_message_bytes", config.max_message_bytes.to_string()),
        (
            "max_inbound_requests",
            config.max_inbound_requests.to_string(),
        ),
        (
            "max_inbound_requests_per_protocol",
            config.max_inbound_requests_per_protocol.to_string(),
        ),
        (
            "max_inbound_requests_per_peer",
            config.max_inbound_requests_per_peer.to_string(),
        ),
        ("dial_timeout", format!("{:?}", config.dial_timeout)),
        ("idle_timeout", format!("{:?}", config.idle_timeout)),
    ];
    for (name, value) in limits {
        let value = value.replace('s', " s");
        let name = format!("EndpointConfig::{name}");
        assert!(has_row(&text, &name, &value), "{name}: {value}");
    }
}

#[cfg(feature = "quic")]
#[test]
fn so_are_those_of_quic() {
    let text = specification();
    let config = crate::QuicConfig::default();
    let limits = [
        ("max_handshakes", config.max_handshakes),
        ("accept_backlog", config.accept_backlog),
        ("max_streams", config.max_streams as usize),
        (
            "connection_window_bytes",
            config.connection_window_bytes as usize,
        ),
        ("stream_window_bytes", config.stream_window_bytes as usize),
        ("send_buffer_bytes", config.send_buffer_bytes as usize),
    ];
    for (name, value) in limits {
        let name = format!("QuicConfig::{name}");
        assert!(has_row(&text, &name, &value.to_string()), "{name}: {value}");
    }
}

#[test]
fn no_limit_of_the_code_is_missing_in_the_specification() {
    /// Steps of a calculation rather than limits.
    const CALCULATED: [&str; 4] = ["MAX_PAUSE", "MAX_DOUBLINGS", "MAX_SCORE", "MAX_MTU"];
    let text = specification();
    let source = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let limits = source.iter().flat_map(|source| constants(source));
    let limits: Vec<_> = limits
        .filter(|(name, _)| !CALCULATED.contains(name))
        .collect();
    assert!(limits.len() > 30, "{limits:?}");
    for (name, value) in limits {
        assert!(text.contains(&format!("`{name}`")), "{name}");
        let has_a_value = text.contains(&format!("\n| `{name}` |"));
        if let Some(value) = value.filter(|_| has_a_value) {
            assert!(has_row(&text, name, &value.to_string()), "{name}: {value}");
        }
    }
}

#[test]
fn every_counter_that_the_specification_names_is_in_the_snapshot() {
    let text = specification();
    let (_, limits) = text.split_once("\n## 16.").unwrap();
    let snapshot = EndpointStats {
        transport: Some(TransportStats::default()),
        ..EndpointStats::default()
    };
    let snapshot = format!("{snapshot:?}");
    let rows = limits.lines().filter(|line| line.starts_with("| `"));
    let mut counters = 0;
    for row in rows {
        let (_, counted) = row.trim_end_matches('|').rsplit_once('|').unwrap();
        for counter in counted.split('`').skip(1).step_by(2) {
            assert!(snapshot.contains(&format!(" {counter}: ")), "{row}");
            counters += 1;
        }
    }
    assert!(counters > 30, "{counters}");
}

/// The files under a folder, tests and what serves them aside.
fn sources(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("contract") {
            all.extend(sources(&path));
        } else if path.is_file() {
            all.push(fs::read_to_string(path).unwrap());
        }
    }
    all
}

/// The names of the limits that a file defines, and their values, unless these are times.
fn constants(source: &str) -> Vec<(&str, Option<usize>)> {
    let definitions = source.lines().filter_map(|line| {
        let (_, definition) = line.split_once("const MAX_")?;
        let start = line.len() - definition.len() - "MAX_".len();
        let (name, rest) = line[start..].split_once(':')?;
        let (_, value) = rest.split_once(" = ")?;
        Some((name, product(value.trim_end_matches(';'))))
    });
    definitions.collect()
}

/// What numbers make that are multiplied.
fn product(expression: &str) -> Option<usize> {
    let factors = expression.split(" * ");
    factors
        .map(|factor| factor.replace('_', "").parse::<usize>().ok())
        .product()
}
