//! What a report says about itself.

use macula_sim::{Join, Scenario, Simulation};

#[test]
fn synthetic_join_is_named_exactly_when_it_is_used() {
    let [synthetic, played] = [Join::Synthetic, Join::Bootstrap].map(|join| {
        let scenario = Scenario {
            nodes: 30,
            join,
            ..Scenario::default()
        };
        let mut simulation = Simulation::new(&scenario).unwrap();
        let joined = simulation.join().unwrap();
        assert_eq!(joined.alone, 0);
        simulation.report()
    });
    // Full tables without a single message are what has to be owned up to.
    assert_eq!(synthetic.traffic.requests, 0);
    assert!(played.traffic.requests > 30);
    let is_named = |words: &String| words.contains("routing tables are filled at once");
    let (named, others): (Vec<_>, Vec<_>) = synthetic.shortened.into_iter().partition(is_named);
    assert_eq!((named.len(), others), (1, played.shortened));
}
