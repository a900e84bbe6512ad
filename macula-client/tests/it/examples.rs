//! The examples do what they say.

use std::path::PathBuf;
use std::process::Command;

/// Runs an example, which is built with the tests, and gives what it prints.
fn printed_by(example: &str) -> String {
    let here = std::env::current_exe().unwrap();
    let built: PathBuf = here
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join(example)
        .with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        built.exists(),
        "{} is not built: run the tests without picking a target, or `cargo build --examples`",
        built.display()
    );
    let output = Command::new(built).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn calculator_adds_and_refuses_to_divide_by_zero() {
    let printed = printed_by("calculator");
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], "2 + 40 = 42");
    assert!(lines[1].starts_with("1 / 0: ") && lines[1].contains("division by zero"));
}

#[test]
fn user_service_finds_one_user_and_not_the_other() {
    let printed = printed_by("user_service");
    assert!(printed.contains(r#"User { name: "Ada", email: "ada@example.com" }"#));
    assert!(printed.contains("user-7: ") && printed.contains("no user user-7"));
}

#[test]
fn failover_loses_no_call() {
    let printed = printed_by("failover");
    assert!(printed.contains("killing node 1"));
    let answers = printed.lines().filter_map(|line| line.split_once(" × "));
    let counts: Vec<u32> = answers
        .map(|(times, _)| times.trim().parse().unwrap())
        .collect();
    assert_eq!(
        counts.len(),
        3,
        "each of three providers answered: {printed}"
    );
    assert_eq!(counts.iter().sum::<u32>(), 60, "{printed}");
}

#[test]
fn custom_transport_sees_the_dials() {
    let printed = printed_by("custom_transport");
    assert!(printed.contains("caller dials "), "{printed}");
    assert!(printed.lines().any(|line| line == "pong"), "{printed}");
}

#[test]
fn custom_dht_finds_without_a_bootstrap_peer() {
    assert_eq!(printed_by("custom_dht"), "NO DHT, NO BOOTSTRAP\n");
}

#[test]
fn custom_selector_stays_in_its_region() {
    assert_eq!(
        printed_by("custom_selector"),
        "answered from us\n".repeat(3)
    );
}
