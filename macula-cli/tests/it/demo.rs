//! The demonstration shows what it says it shows.

use crate::program::{run, run_json};

#[test]
fn the_demo_loses_no_call_while_a_provider_is_killed() {
    let (code, facts) = run_json(&["demo", "--nodes", "6", "--calls", "600"]);
    assert_eq!(code, 0, "{facts}");
    assert_eq!(facts["calls"], 600);
    assert_eq!(facts["failed"], 0);
    assert_eq!(facts["providers"].as_object().unwrap().len(), 3);
    assert!(facts["cache_hit_rate"].as_f64().unwrap() > 0.9, "{facts}");
    assert!(facts["p50_us"].as_u64().unwrap() <= facts["p99_us"].as_u64().unwrap());
    // The caller learns of the death from a call that fails over, and from nothing else.
    assert!(facts["failovers"].as_u64().unwrap() >= 1, "{facts}");
}

#[test]
fn the_demo_shows_what_was_found_where_and_who_answered() {
    let output = run(&["-v", "demo", "--nodes", "5", "--calls", "100"]);
    let (text, told) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{text}{told}");
    let (_, first_calls) = text.split_once("answered by").unwrap();
    let found: Vec<_> = first_calls
        .lines()
        .skip(1)
        .take(3)
        .map(|row| {
            row.split_whitespace()
                .skip(1)
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert!(found[0].starts_with("itself"), "{text}");
    assert_eq!(found[1..], ["the DHT", "the cache"], "{text}");
    for shown in ["is killed", "100 calls, none failed"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    // What is told of the killed provider is news, and of the others there is none.
    let (before, _) = text.split_once(" is killed").unwrap();
    let killed = before.split_whitespace().next_back().unwrap();
    let warnings = told.lines().filter(|line| line.contains("WARN"));
    let unexpected: Vec<_> = warnings.filter(|line| !line.contains(killed)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}
