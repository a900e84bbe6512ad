//! Whom a machine believes to be alive, whom it asks again, and whom it gives up.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use macula_core::{Contact, Key, NodeId};
use macula_dht::kad::{KadConfig, Kademlia, Local, Outbound, Output};
use macula_dht::message::{Request, Response};

/// Longer than it takes to give a contact up that answers nothing.
const A_MINUTE: Duration = Duration::from_secs(60);

#[test]
fn silent_contact_is_asked_again_with_growing_pauses_and_then_given_up() {
    let mut bed = Bed::new(KadConfig::default());
    bed.reach(1);
    bed.fail_everything_sent();
    let mut asked_at = vec![bed.now];
    while bed.machine.stats().contacts > 0 {
        asked_at.push(bed.wait_for_ping());
        bed.fail_everything_sent();
    }
    assert_eq!(bed.machine.stats().contacts_evicted, 1);
    let pauses: Vec<Duration> = asked_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() >= 2 && pauses.is_sorted(), "{pauses:?}");
    assert!(*asked_at.last().unwrap() <= asked_at[0] + A_MINUTE);
}

#[test]
fn silent_contact_is_not_handed_out_until_it_answers_again() {
    let mut bed = Bed::new(KadConfig::default());
    bed.reach(1);
    bed.reach(2);
    assert_eq!(bed.handed_out().len(), 2);
    bed.machine.join(bed.now);
    bed.fail_everything_sent();
    assert_eq!(
        (bed.handed_out(), bed.machine.stats().contacts),
        (vec![], 2)
    );
    // They are asked all the same when there is nobody else.
    bed.machine.join(bed.now);
    let asked = bed.sent();
    assert_eq!(asked.len(), 2);
    bed.now += RTT;
    for outbound in asked {
        bed.answer(&outbound);
    }
    assert_eq!(bed.handed_out().len(), 2);
}

#[test]
fn round_trips_are_measured_by_every_answer() {
    let mut bed = Bed::new(KadConfig::default());
    let peer = contact(1).node_id;
    bed.reach(1);
    assert_eq!(bed.machine.rtt(&peer), None);
    let asked = bed.sent();
    bed.now += RTT;
    for outbound in asked {
        bed.answer(&outbound);
    }
    assert_eq!(bed.machine.rtt(&peer), Some(RTT));
}

#[test]
fn contacts_kept_out_for_their_subnet_are_counted() {
    let mut bed = Bed::new(KadConfig {
        max_per_subnet: NonZeroUsize::new(1),
        ..KadConfig::default()
    });
    for peer in 1..=100 {
        bed.reach(peer);
    }
    let stats = bed.machine.stats();
    // All are in one subnet, and there are fewer buckets than peers.
    assert!(stats.contacts < 20, "{stats:?}");
    assert_eq!(stats.contacts_refused, 100 - stats.contacts as u64);
    bed.machine.check_invariants();
}

struct Bed {
    machine: Kademlia,
    now: Instant,
}

impl Bed {
    fn new(config: KadConfig) -> Self {
        let local = Local {
            node_id: NodeId::from_bytes([0; 32]),
            serves: true,
        };
        Self {
            machine: Kademlia::new(config, local, 1).unwrap(),
            now: tokio::time::Instant::now().into_std(),
        }
    }

    fn reach(&mut self, peer: u8) {
        self.machine.handle_reached(self.now, contact(peer));
        self.machine.check_invariants();
    }

    fn sent(&mut self) -> Vec<Outbound> {
        let outputs = std::iter::from_fn(|| self.machine.poll_output());
        let sent = outputs.filter_map(|output| match output {
            Output::Send(outbound) => Some(outbound),
            _ => None,
        });
        sent.collect()
    }

    fn answer(&mut self, outbound: &Outbound) {
        let response = match outbound.request {
            Request::FindNode { .. } => Response::Nodes { closer: Vec::new() },
            _ => Response::Pong,
        };
        self.machine
            .handle_response(self.now, outbound.request_id, response);
        self.machine.check_invariants();
    }

    fn fail_everything_sent(&mut self) {
        loop {
            let sent = self.sent();
            for outbound in &sent {
                self.machine.handle_failure(self.now, outbound.request_id);
                self.machine.check_invariants();
            }
            if sent.is_empty() {
                break;
            }
        }
    }

    /// Lets time pass until somebody is pinged; when that was.
    fn wait_for_ping(&mut self) -> Instant {
        let until = self.now + A_MINUTE;
        while self.now <= until {
            self.now = self.machine.poll_timeout().unwrap();
            self.machine.handle_timeout(self.now);
            self.machine.check_invariants();
            let sent = self.sent();
            for outbound in &sent {
                self.machine.handle_failure(self.now, outbound.request_id);
            }
            if sent.iter().any(|sent| sent.request == Request::Ping) {
                return self.now;
            }
        }
        panic!("nobody was asked again");
    }

    fn handed_out(&mut self) -> Vec<Contact> {
        let key = Key::from_bytes([0; 32]);
        let request = Request::FindNode { key };
        let asker = NodeId::from_bytes([0xff; 32]);
        let Response::Nodes { closer } = self.machine.answer(self.now, asker, request) else {
            panic!("another answer");
        };
        let closest: Vec<Contact> = self.machine.closest(&key, 20).cloned().collect();
        assert_eq!(closer, closest);
        closer
    }
}

fn contact(peer: u8) -> Contact {
    Contact::new(
        NodeId::from_bytes([peer; 32]),
        [SocketAddr::from(([10, 0, 0, peer], 4433))],
    )
}

const RTT: Duration = Duration::from_millis(80);
