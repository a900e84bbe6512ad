//! What a machine costs in memory, and what answering a peer allocates.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use macula_core::{Contact, Key, NodeId};
use macula_dht::kad::{KadConfig, Kademlia, Local, Output, PlacedContact};
use macula_dht::message::{Request, Response};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Nodes of a network large enough to fill a table as a real one does.
const NODES: u32 = 50_000;

#[test]
fn machine_that_knows_nobody_takes_at_most_four_kibibytes() {
    let (machine, heap) = machine();
    assert_eq!(machine.stats().contacts, 0);
    let takes = heap + size_of::<Kademlia>() as i64;
    assert!(takes <= 4 * 1024, "{takes} bytes");
}

#[test]
fn machine_with_a_full_table_of_shared_contacts_takes_at_most_thirteen_kibibytes() {
    let mut rng = StdRng::seed_from_u64(1);
    let nodes: Vec<PlacedContact> = (0..NODES)
        .map(|_| random_contact(&mut rng).into())
        .collect();
    let (mut machine, mut heap) = machine();
    let now = tokio::time::Instant::now().into_std();
    heap += measure(|| fill(&mut machine, now, &nodes)).bytes_current;
    let stats = machine.stats();
    let takes = heap + size_of::<Kademlia>() as i64;
    assert!(stats.contacts > 220 && stats.replacements > 70);
    assert!(takes <= 13 * 1024, "{takes} bytes");
}

#[test]
fn closest_allocates_nothing_and_an_answer_its_list() {
    let mut rng = StdRng::seed_from_u64(2);
    let nodes: Vec<PlacedContact> = (0..NODES)
        .map(|_| random_contact(&mut rng).into())
        .collect();
    let (mut machine, _) = machine();
    let now = tokio::time::Instant::now().into_std();
    fill(&mut machine, now, &nodes);
    let key = Key::from_bytes(rng.random());
    let mut found = 0;
    let used = measure(|| found = machine.closest(&key, 20).count());
    assert_eq!((found, used.count_total), (20, 0));
    let asker = NodeId::from_bytes(rng.random());
    let mut answer = None;
    let used = measure(|| answer = Some(machine.answer(now, asker, Request::FindNode { key })));
    assert!(matches!(answer, Some(Response::Nodes { closer }) if closer.len() == 20));
    assert_eq!(used.count_total, 1);
}

/// A machine that knows nobody, and its bytes on the heap.
fn machine() -> (Kademlia, i64) {
    let local = Local {
        node_id: NodeId::from_bytes([0; 32]),
        serves: true,
    };
    let mut machine = None;
    let used = measure(|| machine = Kademlia::new(KadConfig::default(), local, 1).ok());
    (machine.unwrap(), used.bytes_current)
}

/// Shows the machine all nodes, which answer whatever they are asked.
fn fill(machine: &mut Kademlia, now: Instant, nodes: &[PlacedContact]) {
    for node in nodes {
        machine.handle_reached(now, node.clone());
        while let Some(output) = machine.poll_output() {
            let Output::Send(outbound) = output else {
                continue;
            };
            let response = match outbound.request {
                Request::FindNode { .. } => Response::Nodes { closer: Vec::new() },
                _ => Response::Pong,
            };
            let answered_at = now + Duration::from_millis(80);
            machine.handle_response(answered_at, outbound.request_id, response);
        }
    }
    machine.check_invariants();
    assert_eq!(machine.stats().operations, 0);
}

fn random_contact(rng: &mut StdRng) -> Contact {
    let ip: [u8; 4] = rng.random();
    Contact::new(
        NodeId::from_bytes(rng.random()),
        [SocketAddr::from((ip, 9443))],
    )
}
