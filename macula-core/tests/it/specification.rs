//! The numbers in SPEC.md are those of the code.

use std::time::Duration;

use macula_core::{
    CLOCK_SKEW, MAX_ADDRESSES, MAX_EXTENSION_BYTES, MAX_EXTENSIONS, MAX_METADATA_BYTES,
    MAX_NAME_BYTES, MAX_SIGNED_BYTES, MAX_TTL, MIN_TTL, Withdrawal,
};

#[test]
fn the_table_of_bounds_is_that_of_the_code() {
    let seconds = |duration: Duration| format!("{} s", duration.as_secs());
    let rows: Vec<String> = [
        ("MAX_NAME_BYTES", MAX_NAME_BYTES.to_string()),
        ("MAX_ADDRESSES", MAX_ADDRESSES.to_string()),
        ("MAX_METADATA_BYTES", MAX_METADATA_BYTES.to_string()),
        ("MAX_EXTENSIONS", MAX_EXTENSIONS.to_string()),
        ("MAX_EXTENSION_BYTES", MAX_EXTENSION_BYTES.to_string()),
        ("MAX_SIGNED_BYTES", MAX_SIGNED_BYTES.to_string()),
        ("CLOCK_SKEW", seconds(CLOCK_SKEW)),
        ("MIN_TTL", seconds(MIN_TTL)),
        ("MAX_TTL", seconds(MAX_TTL)),
        ("Withdrawal::MAX_LIFE", seconds(Withdrawal::MAX_LIFE)),
    ]
    .map(|(name, value)| format!("| `{name}` | {value} |"))
    .into();

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SPEC.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, bounds) = text.split_once("## 14. Bounds\n").unwrap();
    let (bounds, _) = bounds.split_once("\n## ").unwrap();
    let written: Vec<&str> = bounds
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(written, rows);
}
