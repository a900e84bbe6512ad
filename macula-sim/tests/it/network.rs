//! What an owner who plays a network itself can rely on.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use macula_core::Key;
use macula_dht::kad::{Ask, OperationResult, Search};
use macula_sim::{Churn, Network, NetworkConfig};

#[test]
fn nothing_happens_before_the_next_event() {
    let mut network = network();
    for _ in 0..500 {
        let at = network.next_event().unwrap();
        let events = network.events();
        let pause = at.checked_sub(network.now()).unwrap();
        network
            .run_for(pause.saturating_sub(Duration::from_nanos(1)))
            .unwrap();
        assert_eq!(network.events(), events);
        assert_eq!(network.next_event(), Some(at));
        network.run_for(at - network.now()).unwrap();
        assert!(network.events() > events);
    }
}

#[test]
fn find_is_counted_as_sent_by_who_makes_it() {
    let mut network = network();
    let before = network.sent(3).unwrap().find_providers;
    let search = Search {
        key: Key::from_bytes([9; 32]),
        want: NonZeroUsize::MIN,
        timeout: Duration::from_secs(5),
        ask: Ask::Network,
        trace: false,
    };
    network.find(3, search).unwrap();
    network.run_for(Duration::from_secs(5)).unwrap();
    let requests = network
        .take_outcomes()
        .into_iter()
        .find_map(|outcome| match outcome.result {
            OperationResult::Found(found) => Some(found.unwrap().requests),
            _ => None,
        });
    let sent = network.sent(3).unwrap().find_providers - before;
    assert_eq!(usize::try_from(sent).ok(), requests);
    assert!(sent > 10, "only {sent}");
    assert_eq!(network.sent(1_000), None);
}

#[test]
fn stayer_joins_and_outlives_everybody() {
    let mut network = network();
    let brief = Churn::with_median(Duration::from_secs(20));
    network.start_churn(brief).unwrap();
    let stayer = network.add_stayer();
    network.run_for(Duration::from_secs(600)).unwrap();
    assert!(network.take_departed().len() > 100);
    assert!(network.is_alive(stayer));
    assert_eq!(network.life(stayer), 0);
    assert!(network.stats(stayer).unwrap().contacts > 5);
}

fn network() -> Network {
    let mut network = Network::new(&NetworkConfig {
        nodes: 60,
        seed: 5,
        check_every: NonZeroU64::MAX,
        ..NetworkConfig::default()
    })
    .unwrap();
    network.join_synthetically();
    network
}
