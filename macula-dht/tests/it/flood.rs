//! What one peer may cost a node, and what verifying costs it.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use macula_dht::message::wire;
use macula_dht::message::{LiveRecord, MAX_CLAIMS, Request, Response, StoreOutcome};
use macula_dht::{DhtConfig, Rate};
use macula_transport::{ProtocolId, Refusal, RequestFailure};

use crate::node::{Node, TTL, servers, servers_with};

/// Asks a node for something by hand.
async fn ask(from: &Node, to: &Node, body: Vec<u8>) -> Result<Response, RequestFailure> {
    let request = macula_transport::Request {
        protocol: ProtocolId::DHT,
        timeout: Duration::from_secs(10),
        body: Bytes::from(body),
    };
    let answered = from.endpoint.request(&to.contact(), request).await;
    let body = answered.map_err(|error| error.failure)?;
    let inbound = wire::decode_response(&body, (from.clock)()).unwrap();
    Ok(inbound.response)
}

fn store(from: &Node, services: impl Iterator<Item = usize>) -> Vec<u8> {
    let records = services.map(|service| LiveRecord {
        record: from.record(&format!("a.n{service}"), 1),
        life: TTL,
    });
    let records = records.collect();
    wire::encode_request(&Request::Store { records }).unwrap()
}

#[tokio::test(start_paused = true)]
async fn flood_of_one_peer_is_limited_and_another_is_served() {
    let config = DhtConfig {
        claims_per_peer: Rate {
            per_sec: NonZeroU32::new(10).unwrap(),
            burst: NonZeroU32::new(100).unwrap(),
        },
        ..DhtConfig::default()
    };
    let (_network, nodes) = servers_with(3, &config).await;
    let (holder, flooder, other) = (&nodes[0], &nodes[1], &nodes[2]);
    let mut refused = 0;
    for round in 0..10 {
        match ask(flooder, holder, store(flooder, round * 20..round * 20 + 20)).await {
            Ok(Response::Stored { outcomes }) => {
                assert_eq!(outcomes, [StoreOutcome::Stored; 20]);
            }
            Err(RequestFailure::Refused(Refusal::Overloaded)) => refused += 1,
            answer => panic!("another answer: {answer:?}"),
        }
    }
    assert_eq!(refused, 5);
    let served = ask(other, holder, store(other, 0..20)).await.unwrap();
    let outcomes = vec![StoreOutcome::Stored; 20];
    assert_eq!(served, Response::Stored { outcomes });
    let stats = holder.dht.stats();
    assert_eq!((stats.rate_limited, stats.kad.records), (5, 120));

    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = ask(flooder, holder, store(flooder, 100..120)).await;
    assert!(again.is_ok(), "it is served again after a while");
}

#[tokio::test(start_paused = true)]
async fn peer_that_is_overloaded_is_not_taken_for_dead() {
    let config = DhtConfig {
        requests_per_peer: Rate {
            per_sec: NonZeroU32::MIN,
            burst: NonZeroU32::new(8).unwrap(),
        },
        ..DhtConfig::default()
    };
    let (_network, nodes) = servers_with(2, &config).await;
    for service in 0..20 {
        let _ = nodes[1].announce(&format!("a.n{service}"), 1).await;
    }
    assert!(nodes[0].dht.stats().rate_limited > 0);
    let stats = nodes[1].dht.stats();
    assert_eq!((stats.kad.contacts, stats.kad.requests_failed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn record_with_a_bad_signature_among_good_ones_is_refused_alone() {
    let (_network, nodes) = servers(2).await;
    for (first, count) in [(100, 3), (0, MAX_CLAIMS)] {
        let mut body = store(&nodes[1], first..first + count);
        // The last bytes are the extension block, the stated life, and before them the signature.
        let signature_ends = body.len() - 1 - 3;
        body[signature_ends - 10] ^= 1;
        let answer = ask(&nodes[1], &nodes[0], body).await.unwrap();
        let mut outcomes = vec![StoreOutcome::Stored; count];
        outcomes[count - 1] = StoreOutcome::Refused;
        assert_eq!(answer, Response::Stored { outcomes });
    }
    let stats = nodes[0].dht.stats();
    assert_eq!(stats.claims_refused, 2);
    assert_eq!(stats.kad.records, 2 + MAX_CLAIMS - 1);
}

#[tokio::test(start_paused = true)]
async fn claim_is_verified_once_and_many_are_verified_elsewhere() {
    let (_network, nodes) = servers(2).await;
    let body = store(&nodes[1], 0..MAX_CLAIMS);
    for _ in 0..3 {
        ask(&nodes[1], &nodes[0], body.clone()).await.unwrap();
    }
    let stats = nodes[0].dht.stats();
    let claims = MAX_CLAIMS as u64;
    assert_eq!(stats.signatures_checked, claims);
    assert_eq!(stats.claims_recognised, 2 * claims);
    assert_eq!(stats.messages_handed_over, 1);
}

#[tokio::test(start_paused = true)]
async fn request_beyond_what_may_be_under_way_blames_nobody() {
    let config = DhtConfig {
        max_under_way: std::num::NonZeroUsize::MIN,
        ..DhtConfig::default()
    };
    let (_network, nodes) = servers_with(4, &config).await;
    let _ = nodes[1].announce("a.service", 1).await;
    let stats = nodes[1].dht.stats().kad;
    assert!(stats.requests_unsent > 0);
    assert_eq!((stats.requests_failed, stats.contacts_evicted), (0, 0));
}
