//! The driver over endpoints: whole nodes on a memory network.

use std::time::Duration;

use bytes::Bytes;
use macula_core::{DialTarget, SecretKey};
use macula_dht::contract::{self, Member, Network};
use macula_dht::{
    DhtConfig, DhtConfigError, DhtError, FindOutcome, JoinError, JoinFailureCause, KademliaDht,
    Scope,
};
use macula_transport::{MemoryNetwork, ProtocolId, Refusal, Request, RequestFailure};
use tokio::time::Instant;

use crate::node::{Node, in_time, servers};

#[tokio::test(start_paused = true)]
async fn kademlia_dht_keeps_the_contract() {
    contract::run(async || {
        let (network, nodes) = servers(4).await;
        let clock = nodes[0].clock.clone();
        let members = [0, 1, 2, 3].map(|index| Member {
            secret_key: nodes[index].secret_key.clone(),
            dht: nodes[index].dht.clone(),
        });
        Network {
            members,
            clock,
            keep: Box::new((network, nodes)),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn lone_node_joins_nobody_and_finds_its_own() {
    let (_network, nodes) = servers(1).await;
    let report = in_time(nodes[0].dht.join(&[])).await.unwrap();
    assert_eq!((report.reached.len(), report.contacts), (0, 0));
    assert_eq!(nodes[0].announce("a.service", 1).await, Ok(1));
    assert_eq!(nodes[0].providers("a.service").await, [1]);
}

#[tokio::test(start_paused = true)]
async fn every_node_of_two_and_three_finds_every_provider() {
    for count in [2, 3] {
        let (_network, nodes) = servers(count).await;
        for (seq, node) in (1..).zip(&nodes) {
            assert_eq!(node.announce("a.service", seq).await, Ok(count.into()));
        }
        let everyone: Vec<u64> = (1..=count.into()).collect();
        for node in &nodes {
            assert_eq!(node.providers("a.service").await, everyone);
        }
        nodes[0].withdraw("a.service", 1).await.unwrap();
        for node in &nodes {
            assert_eq!(node.providers("a.service").await, everyone[1..]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn provider_is_found_across_a_network_of_twenty() {
    let (_network, nodes) = servers(20).await;
    assert!(nodes[3].announce("a.service", 7).await.unwrap() >= 5);
    for node in &nodes {
        assert_eq!(node.providers("a.service").await, [7]);
    }
    let absent = nodes[4].find("b.service", Scope::Network).await.unwrap();
    assert_eq!(absent.outcome, FindOutcome::Absent);
}

#[tokio::test(start_paused = true)]
async fn killed_provider_is_found_until_its_record_expires() {
    let (network, nodes) = servers(6).await;
    nodes[3].announce("a.service", 7).await.unwrap();
    network.kill(nodes[3].secret_key.node_id());
    assert_eq!(nodes[1].providers("a.service").await, [7]);
    tokio::time::sleep(crate::node::TTL).await;
    assert_eq!(nodes[1].providers("a.service").await, [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn find_ends_by_its_timeout_though_everybody_else_is_dead_slow_or_cut_off() {
    for trouble in [Trouble::Dead, Trouble::Slow, Trouble::CutOff] {
        let (network, nodes) = servers(8).await;
        let (asker, others) = nodes.split_first().unwrap();
        trouble.strike(&network, asker, others);
        let started = Instant::now();
        let found = asker.find_within("a.service", HURRY).await.unwrap();
        let took = started.elapsed();
        assert!(took <= HURRY + HURRY / 2, "{trouble:?}: {took:?}");
        assert_eq!(found.outcome, FindOutcome::Inconclusive, "{trouble:?}");
        assert!(found.requests > 0, "{trouble:?}");
    }
}

/// Why others do not answer in time.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Dead,
    Slow,
    CutOff,
}

impl Trouble {
    fn strike(self, network: &MemoryNetwork, asker: &Node, others: &[Node]) {
        let id = |node: &Node| node.secret_key.node_id();
        match self {
            Self::Dead => others.iter().for_each(|other| network.kill(id(other))),
            Self::Slow => network.set_latency(HURRY * 5..=HURRY * 5),
            Self::CutOff => {
                let others: Vec<_> = others.iter().map(id).collect();
                network.partition(&[id(asker)], &others);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connected_find_needs_no_lookup() {
    let (_network, nodes) = servers(3).await;
    nodes[1].announce("a.service", 7).await.unwrap();
    let found = nodes[2].find("a.service", Scope::Connected).await.unwrap();
    assert_eq!(found.providers.len(), 1);
    assert!(found.requests <= 2);
}

#[tokio::test(start_paused = true)]
async fn client_finds_and_announces_but_answers_nothing_and_is_in_no_table() {
    let (network, nodes) = servers(3).await;
    let client = Node::client(&network, &nodes[0].clock, 99);
    let report = in_time(client.dht.join(&[nodes[0].target()]))
        .await
        .unwrap();
    assert!(report.contacts > 0);
    nodes[1].announce("a.service", 7).await.unwrap();
    assert_eq!(client.providers("a.service").await, [7]);
    assert_eq!(
        client.announce("a.service", 9).await,
        Err(DhtError::NoAddress)
    );

    let ping = Request {
        protocol: ProtocolId::DHT,
        timeout: Duration::from_secs(1),
        body: Bytes::from_static(&[0, 0]),
    };
    let refused = nodes[0].endpoint.request(&client.contact(), ping).await;
    let failure = refused.unwrap_err().failure;
    assert_eq!(failure, RequestFailure::Refused(Refusal::Denied));
    assert_eq!(nodes[0].dht.stats().kad.contacts, 2);
}

#[tokio::test(start_paused = true)]
async fn dead_bootstrap_peer_is_a_clear_failure_and_retried() {
    let network = MemoryNetwork::new(1);
    let clock = contract::wall_clock();
    let first = Node::server(&network, &clock, 1);
    let second = Node::server(&network, &clock, 2);
    network.refuse(first.secret_key.node_id());
    let outcome = in_time(second.dht.join(&[first.target()])).await;
    let Err(JoinError::NoneReached { failures }) = outcome else {
        panic!("joined through a dead peer: {outcome:?}");
    };
    assert!(matches!(failures[0].cause, JoinFailureCause::Dial(_)));
    let unreachable = Err(DhtError::Unreachable);
    assert_eq!(second.announce("a.service", 1).await, unreachable);

    network.admit(first.secret_key.node_id());
    in_time(second.dht.wait_for_contacts(1)).await.unwrap();
    assert_eq!(second.announce("a.service", 2).await, Ok(2));
    assert_eq!(first.providers("a.service").await, [2]);
}

#[tokio::test(start_paused = true)]
async fn wrong_bootstrap_peer_and_itself_are_clear_failures() {
    let (_network, nodes) = servers(2).await;
    let impostor = SecretKey::from_bytes(&[77; 32]).node_id();
    let mut contact = nodes[0].contact();
    contact.node_id = impostor;
    let wrong = DialTarget::from(contact);
    let targets = [wrong.clone(), nodes[1].target(), nodes[0].target()];
    let report = in_time(nodes[1].dht.join(&targets)).await.unwrap();
    assert_eq!(report.reached, [nodes[0].secret_key.node_id()]);
    let failed: Vec<_> = report.failed.iter().map(|failed| &failed.target).collect();
    assert_eq!(failed, [&wrong, &nodes[1].target()]);
}

#[tokio::test(start_paused = true)]
async fn wrong_bootstrap_peers_alone_reach_nobody_and_are_retried() {
    let network = MemoryNetwork::new(1);
    let clock = contract::wall_clock();
    let [other, wanted, node] = [1, 2, 3].map(|seed| Node::server(&network, &clock, seed));
    // Another one answers at its first address, and for now nobody at its second.
    let mut contact = wanted.contact();
    let addresses = other.contact().addresses;
    contact.addresses = addresses
        .iter()
        .chain(contact.addresses.iter())
        .copied()
        .collect();
    network.refuse(wanted.secret_key.node_id());
    let wrong = DialTarget::from(contact);
    let outcome = in_time(node.dht.join(&[wrong.clone(), node.target()])).await;
    let Err(JoinError::NoneReached { failures }) = outcome else {
        panic!("joined through nobody: {outcome:?}");
    };
    let failed: Vec<_> = failures.iter().map(|failed| &failed.target).collect();
    assert_eq!(failed, [&wrong, &node.target()]);
    assert!(matches!(failures[0].cause, JoinFailureCause::Dial(_)));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(node.dht.stats().kad.contacts, 0);

    network.admit(wanted.secret_key.node_id());
    in_time(node.dht.wait_for_contacts(1)).await.unwrap();
    assert_eq!(node.announce("a.service", 2).await, Ok(2));
    assert_eq!(wanted.providers("a.service").await, [2]);
    assert_eq!(other.dht.stats().kad.contacts, 0);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_refused_and_counted() {
    let (_network, nodes) = servers(2).await;
    for body in [&b""[..], b"garbage", &[0xff; 4096]] {
        let request = Request {
            protocol: ProtocolId::DHT,
            timeout: Duration::from_secs(1),
            body: Bytes::copy_from_slice(body),
        };
        let refused = nodes[1]
            .endpoint
            .request(&nodes[0].contact(), request)
            .await;
        let failure = refused.unwrap_err().failure;
        assert_eq!(failure, RequestFailure::Refused(Refusal::Malformed));
    }
    nodes[1].announce("a.service", 1).await.unwrap();
    assert_eq!(nodes[0].dht.stats().messages_malformed, 3);
}

#[tokio::test(start_paused = true)]
async fn closed_it_answers_nothing() {
    let (_network, nodes) = servers(2).await;
    in_time(nodes[0].dht.shutdown()).await;
    in_time(nodes[0].dht.shutdown()).await;
    let closed = Some(DhtError::Closed);
    assert_eq!(nodes[0].announce("a.service", 1).await.err(), closed);
    assert_eq!(nodes[0].withdraw("a.service", 1).await.err(), closed);
    assert_eq!(
        nodes[0].find("a.service", Scope::Network).await.err(),
        closed
    );
    assert_eq!(
        in_time(nodes[0].dht.join(&[])).await,
        Err(JoinError::Closed)
    );
}

#[tokio::test(start_paused = true)]
async fn endpoint_carries_one_dht() {
    let (_network, nodes) = servers(1).await;
    let second = KademliaDht::start(
        nodes[0].endpoint.clone(),
        nodes[0].clock.clone(),
        DhtConfig::default(),
    );
    assert_eq!(second.err(), Some(DhtConfigError::AlreadyStarted));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_the_task() {
    let (_network, mut nodes) = servers(2).await;
    let first = nodes.remove(0);
    let (endpoint, contact) = (first.endpoint.clone(), first.contact());
    assert_eq!(first.dht.stats().kad.contacts, 1);
    drop(first);
    let ping = Request {
        protocol: ProtocolId::DHT,
        timeout: Duration::from_secs(1),
        body: Bytes::from_static(&[0, 0]),
    };
    let refused = nodes[0].endpoint.request(&contact, ping).await;
    let failure = refused.unwrap_err().failure;
    assert_eq!(failure, RequestFailure::Refused(Refusal::ShuttingDown));
    drop(endpoint);
}

const HURRY: Duration = Duration::from_millis(100);
