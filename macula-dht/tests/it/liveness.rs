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

#[test]
fn newcomer_to_a_full_bucket_has_the_longest_silent_asked_and_takes_its_place_if_it_is_dead() {
    let mut full = FullBucket::new();
    let silent = full.longest_silent;
    let ping = full.ping_for_newcomer(VOUCHED_FOR + A_SECOND);
    assert_eq!(ping.to.node_id, silent);
    let bed = &mut full.bed;
    bed.machine.handle_failure(bed.now, ping.request_id);
    assert!(!full.has_place(full.newcomer), "one failure is not death");
    let bed = &mut full.bed;
    while bed.machine.stats().contacts_evicted == 0 {
        bed.wait_for_ping();
    }
    assert!(full.has_place(full.newcomer));
    assert!(!full.has_place(silent));
    assert_eq!(full.bed.machine.stats().contacts, FULL);
}

#[test]
fn longest_silent_of_a_full_bucket_keeps_its_place_if_it_answers() {
    let mut full = FullBucket::new();
    let ping = full.ping_for_newcomer(VOUCHED_FOR + A_SECOND);
    full.bed.now += RTT;
    full.bed.answer(&ping);
    assert!(full.has_place(full.longest_silent));
    assert!(!full.has_place(full.newcomer));
    let stats = full.bed.machine.stats();
    assert_eq!((stats.contacts, stats.contacts_evicted), (FULL, 0));
}

#[test]
fn nobody_of_a_full_bucket_is_asked_while_its_last_answer_vouches_for_it() {
    let mut full = FullBucket::new();
    full.reach_newcomer(VOUCHED_FOR - A_SECOND);
    assert_eq!(full.bed.sent(), []);
    assert!(full.has_place(full.longest_silent));
    assert!(!full.has_place(full.newcomer));
}

#[test]
fn longest_silent_is_asked_whoever_was_reached_since() {
    let mut full = FullBucket::new();
    let silent = full.longest_silent;
    full.bed.now = full.silent_since + A_SECOND * 10;
    for contact in full.bed.machine.contacts() {
        if contact.node_id != silent {
            full.bed.reach(contact.node_id.as_bytes()[0]);
        }
    }
    let ping = full.ping_for_newcomer(VOUCHED_FOR + A_SECOND);
    assert_eq!(ping.to.node_id, silent);
}

#[test]
fn contact_that_could_not_be_asked_again_for_want_of_room_is_asked_later() {
    let mut bed = Bed::new(KadConfig::default());
    bed.reach(1);
    bed.fail_everything_sent();
    let until = bed.now + A_MINUTE;
    while bed.now < until {
        for outbound in bed.sent_next() {
            bed.machine.handle_unsent(bed.now, outbound.request_id);
        }
    }
    assert_eq!(bed.machine.stats().contacts, 1, "nobody is to blame");
    assert!(bed.machine.stats().requests_unsent > 2);
    while bed.machine.stats().contacts > 0 {
        bed.wait_for_ping();
    }
}

#[test]
fn contact_is_asked_where_it_was_reached_whatever_others_say() {
    let mut bed = Bed::new(KadConfig::default());
    bed.reach(1);
    let own_walk = bed.sent();
    bed.reach(2);
    let elsewhere: SocketAddr = "10.6.6.6:6".parse().unwrap();
    let lies = [2, 3].map(|peer| Contact::new(contact(peer).node_id, [elsewhere]));
    let response = Response::Nodes {
        closer: lies.to_vec(),
    };
    let asked = own_walk[0].request_id;
    bed.machine.handle_response(bed.now, asked, response);
    let sent = bed.sent();
    let address_of = |peer: u8| {
        let node_id = contact(peer).node_id;
        let to = sent.iter().find(|sent| sent.to.node_id == node_id).unwrap();
        to.to.addresses[0]
    };
    assert_eq!(address_of(2), contact(2).addresses[0]);
    assert_eq!(address_of(3), elsewhere, "nobody knows better");
}

/// A machine that knows one full bucket of peers which have all answered, and one more to come.
struct FullBucket {
    bed: Bed,
    newcomer: NodeId,
    longest_silent: NodeId,
    /// When that one has answered last.
    silent_since: Instant,
}

impl FullBucket {
    fn new() -> Self {
        let mut bed = Bed::new(KadConfig {
            k: NonZeroUsize::new(FULL).unwrap(),
            // No round of refreshing asks anybody meanwhile.
            refresh_interval: A_MINUTE * 60,
            ..KadConfig::default()
        });
        let local = Key::of_node(&NodeId::from_bytes([0; 32]));
        let is_far = |peer: &u8| {
            let key = Key::of_node(&contact(*peer).node_id);
            key.distance(&local).leading_zeros() == 0
        };
        let mut peers = (1..=u8::MAX).filter(is_far);
        for peer in peers.by_ref().take(FULL) {
            bed.reach(peer);
        }
        let newcomer = contact(peers.next().unwrap()).node_id;
        // The first alone was known when the machine walked home.
        bed.answer_everything_sent();
        bed.machine.join(bed.now);
        let mut answered = bed.answer_everything_sent();
        assert_eq!(answered.len(), FULL, "not all have answered");
        let (longest_silent, silent_since) = answered.remove(0);
        Self {
            bed,
            newcomer,
            longest_silent,
            silent_since,
        }
    }

    /// Reaches the newcomer when the longest silent has been so for this long.
    fn reach_newcomer(&mut self, silence: Duration) {
        self.bed.now = self.silent_since + silence;
        self.bed.reach(self.newcomer.as_bytes()[0]);
    }

    /// The same; the only request that it leads to, which is a ping.
    fn ping_for_newcomer(&mut self, silence: Duration) -> Outbound {
        self.reach_newcomer(silence);
        let mut sent = self.bed.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(sent[0].request, Request::Ping);
        sent.remove(0)
    }

    fn has_place(&mut self, peer: NodeId) -> bool {
        let mut placed = self.bed.handed_out().into_iter();
        placed.any(|contact| contact.node_id == peer)
    }
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

    /// Who has answered, longest ago first, and when last.
    fn answer_everything_sent(&mut self) -> Vec<(NodeId, Instant)> {
        let mut answered: Vec<(NodeId, Instant)> = Vec::new();
        loop {
            let sent = self.sent();
            if sent.is_empty() {
                return answered;
            }
            self.now += RTT;
            for outbound in &sent {
                self.answer(outbound);
                answered.retain(|(peer, _)| *peer != outbound.to.node_id);
                answered.push((outbound.to.node_id, self.now));
            }
        }
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

    /// Lets time pass until something is due; what is sent then.
    fn sent_next(&mut self) -> Vec<Outbound> {
        self.now = self.machine.poll_timeout().unwrap();
        self.machine.handle_timeout(self.now);
        self.machine.check_invariants();
        self.sent()
    }

    /// Lets time pass until somebody is pinged and does not answer; when that was.
    fn wait_for_ping(&mut self) -> Instant {
        let until = self.now + A_MINUTE;
        while self.now <= until {
            let sent = self.sent_next();
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
const A_SECOND: Duration = Duration::from_secs(1);

/// How long an answer keeps a contact of a full bucket from being asked for a newcomer's sake.
const VOUCHED_FOR: Duration = Duration::from_secs(300);

/// Contacts that fill a bucket.
const FULL: usize = 8;
