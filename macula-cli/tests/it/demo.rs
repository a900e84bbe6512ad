//! The demonstration shows what it says it shows.

use crate::program::run_json;

#[test]
fn the_demo_loses_no_call_while_a_provider_is_killed() {
    let (code, facts) = run_json(&["demo", "--nodes", "6", "--calls", "600"]);
    assert_eq!(code, 0, "{facts}");
    assert_eq!(facts["calls"], 600);
    assert_eq!(facts["failed"], 0);
    assert_eq!(facts["providers"].as_object().unwrap().len(), 3);
    assert!(facts["cache_hit_rate"].as_f64().unwrap() > 0.9, "{facts}");
    assert!(facts["p50_us"].as_u64().unwrap() <= facts["p99_us"].as_u64().unwrap());
    assert!(facts["failovers"].is_u64());
}
