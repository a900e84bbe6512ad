//! The contract suite on the implementations of this crate.

use macula_core::SecretKey;
use macula_dht::contract::{self, Broken, Member, Network};
use macula_dht::{DhtError, MemoryDht};

#[tokio::test(start_paused = true)]
async fn memory_dht_keeps_the_contract() {
    contract::run(async || memory_network(|_| {}))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn slow_memory_dht_keeps_the_contract() {
    contract::run(async || {
        memory_network(|dht| dht.set_latency(std::time::Duration::from_millis(80)))
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn suite_reports_the_promise_that_is_broken() {
    let outcome = contract::run(async || memory_network(|dht| dht.set_reachable(false))).await;
    let Err(Broken { case, finding }) = outcome else {
        panic!("an unreachable network passes the suite");
    };
    assert_eq!(case, "announce::announced_record_is_found_as_it_was_signed");
    assert!(
        finding.contains(&DhtError::Unreachable.to_string()),
        "{finding}"
    );
}

fn memory_network(prepare: impl Fn(&MemoryDht)) -> Network {
    let clock = contract::wall_clock();
    let dht = MemoryDht::new(clock.clone());
    prepare(&dht);
    Network {
        members: [1, 2, 3, 4].map(|seed| Member {
            secret_key: SecretKey::from_bytes(&[seed; 32]),
            dht: dht.clone(),
        }),
        clock,
        keep: Box::new(()),
    }
}
