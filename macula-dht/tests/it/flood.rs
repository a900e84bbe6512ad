//! What one peer may cost a node, what verifying costs it, and that no forgery passes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::{Contact, DialTarget, Realm, SecretKey, Timestamp, Withdrawal, WithdrawalDraft};
use macula_dht::message::wire;
use macula_dht::message::{
    LiveRecord, LiveWithdrawal, MAX_CLAIMS, ProvidersAnswer, Request, Response, StoreOutcome,
};
use macula_dht::{DhtConfig, Rate};
use macula_transport::{
    Endpoint, EndpointConfig, Executor, InboundRequest, MemoryNetwork, ProtocolId, Refusal,
    RequestFailure, RequestHandler, Transport as _,
};

use crate::node::{Node, TTL, in_time, servers, servers_with};

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
        spoil_last_signature(&mut body);
        let answer = ask(&nodes[1], &nodes[0], body).await.unwrap();
        let mut outcomes = vec![StoreOutcome::Stored; count];
        outcomes[count - 1] = StoreOutcome::Refused;
        assert_eq!(answer, Response::Stored { outcomes });
    }
    let stats = nodes[0].dht.stats();
    assert_eq!(stats.claims_refused, 2);
    assert_eq!(stats.kad.records, 2 + MAX_CLAIMS - 1);
}

/// The last bytes are the extension block, the stated life, and before them the signature.
fn spoil_last_signature(body: &mut [u8]) {
    let signature_ends = body.len() - 1 - 3;
    body[signature_ends - 10] ^= 1;
}

#[tokio::test(start_paused = true)]
async fn withdrawal_with_a_bad_signature_is_refused_and_withdraws_nothing() {
    let (_network, nodes) = servers(2).await;
    nodes[1].announce("a.service", 1).await.unwrap();
    let draft = WithdrawalDraft {
        realm: Realm::default(),
        service: "a.service".parse().unwrap(),
        seq: 1,
        until: (nodes[1].clock)().saturating_add(TTL),
    };
    let withdrawal = Withdrawal::sign(&nodes[1].secret_key, draft).unwrap();
    let withdrawals = vec![LiveWithdrawal {
        withdrawal,
        life: TTL,
    }];
    let genuine = wire::encode_request(&Request::Withdraw { withdrawals }).unwrap();
    let mut forged = genuine.clone();
    spoil_last_signature(&mut forged);

    let answer = ask(&nodes[1], &nodes[0], forged).await.unwrap();
    let outcomes = vec![StoreOutcome::Refused];
    assert_eq!(answer, Response::Stored { outcomes });
    assert_eq!(nodes[0].dht.stats().claims_refused, 1);
    assert_eq!(nodes[0].dht.stats().kad.records, 1);
    assert_eq!(nodes[0].providers("a.service").await, [1]);

    let answer = ask(&nodes[1], &nodes[0], genuine).await.unwrap();
    let outcomes = vec![StoreOutcome::Stored];
    assert_eq!(answer, Response::Stored { outcomes });
    assert_eq!(nodes[0].dht.stats().kad.records, 0);
}

#[tokio::test(start_paused = true)]
async fn forged_record_in_an_answer_is_not_believed() {
    // So few are verified on the spot, so many elsewhere.
    for count in [2, 20] {
        let (network, mut nodes) = servers(1).await;
        let reader = nodes.remove(0);
        let providers = (1..=count).map(|seed| Node::server(&network, &reader.clock, 100 + seed));
        let records = (1..).zip(providers).map(|(seq, provider)| LiveRecord {
            record: provider.record("a.service", seq),
            life: TTL,
        });
        let answer = ProvidersAnswer {
            records: records.collect(),
            ..ProvidersAnswer::default()
        };
        let mut body = wire::encode_response(&Response::Providers(answer), &[]).unwrap();
        // Behind the records come two empty lists.
        let records_end = body.len() - 2;
        spoil_last_signature(&mut body[..records_end]);
        let (_liar, target) = liar(&network, body);
        in_time(reader.dht.join(&[target])).await.unwrap();

        let genuine: Vec<u64> = (1..u64::from(count)).collect();
        assert_eq!(reader.providers("a.service").await, genuine);
        let stats = reader.dht.stats();
        assert_eq!((stats.claims_refused, stats.messages_malformed), (1, 0));
        assert_eq!(stats.messages_handed_over, u64::from(count > 4));
    }
}

/// A peer that answers every find alike.
struct Liar(Bytes);

#[async_trait]
impl RequestHandler for Liar {
    async fn handle(&self, inbound: InboundRequest) -> Result<Bytes, Refusal> {
        let now = Timestamp::default();
        let request = wire::decode_request(&inbound.body, now).unwrap().request;
        let response = match request {
            Request::FindProviders { .. } => return Ok(self.0.clone()),
            Request::FindNode { .. } => Response::Nodes { closer: Vec::new() },
            _ => Response::Pong,
        };
        Ok(wire::encode_response(&response, &[]).unwrap().into())
    }
}

fn liar(network: &Arc<MemoryNetwork>, answer: Vec<u8>) -> (Endpoint, DialTarget) {
    let secret_key = SecretKey::from_bytes(&[99; 32]);
    let transport = network.transport(&secret_key);
    let addresses = transport.local_addresses();
    let runtime = Executor::Current.start().unwrap();
    let config = EndpointConfig {
        seed: Some(1),
        ..EndpointConfig::default()
    };
    let endpoint = Endpoint::start(runtime, transport, config).unwrap();
    let handler = Arc::new(Liar(answer.into()));
    endpoint.register_inline(ProtocolId::DHT, handler).unwrap();
    let contact = Contact::new(secret_key.node_id(), addresses);
    (endpoint, DialTarget::from(contact))
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
