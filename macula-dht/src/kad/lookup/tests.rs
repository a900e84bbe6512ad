//! One lookup among peers that do whatever they like: it keeps its bounds and ends in time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use macula_core::{Delivery, Extensions, Metadata, ProviderRecord, Realm, RecordDraft, SecretKey};
use proptest::prelude::*;

use super::candidates::MAX_CANDIDATES;
use super::*;
use crate::HopOutcome;

mod model;
mod region;
mod scripted;

const K: usize = 5;
const ALPHA: usize = 3;
const REPLICATION: usize = 4;
const QUORUM: usize = 3;
const PEERS: u8 = 40;
const LOCAL: u8 = 255;
const TIMEOUT: Duration = Duration::from_secs(10);

fn contact(peer: u8) -> Contact {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1000 + u16::from(peer)));
    Contact::new(node_id(peer), [address])
}

fn node_id(peer: u8) -> NodeId {
    NodeId::from_bytes([peer; 32])
}

fn contacts(peers: &[u8]) -> Vec<Contact> {
    peers.iter().copied().map(contact).collect()
}

fn distance(peer: u8) -> macula_core::Distance {
    Key::of_node(&node_id(peer)).distance(&target())
}

/// The peers, closest first.
fn by_distance(peers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut peers: Vec<u8> = peers.into_iter().collect();
    peers.sort_by_key(|peer| distance(*peer));
    peers
}

fn target() -> Key {
    Key::of_service(&Realm::default(), &"a.service".parse().unwrap())
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn quest(now: Instant) -> Quest {
    Quest {
        local: node_id(LOCAL),
        target: target(),
        want: None,
        k: K,
        alpha: ALPHA,
        replication: REPLICATION,
        quorum: QUORUM,
        follows: true,
        trace: false,
        deadline: now + TIMEOUT,
    }
}

fn seeking(now: Instant, want: usize, seeds: &[u8]) -> Lookup {
    let quest = Quest {
        want: NonZeroUsize::new(want),
        trace: true,
        ..quest(now)
    };
    Lookup::new(now, quest, contacts(seeds))
}

fn record(provider: u8) -> LiveClaim {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: "a.service".parse().unwrap(),
        addresses: contact(provider).addresses,
        metadata: Metadata::new(),
        delivery: Delivery::AtLeastOnce,
        seq: 1,
        issued_at: macula_core::Timestamp::default(),
        ttl: Duration::from_secs(300),
        extensions: Extensions::default(),
    };
    let record = ProviderRecord::sign(&SecretKey::from_bytes(&[provider; 32]), draft).unwrap();
    LiveClaim {
        life: record.ttl(),
        claim: Claim::Record(record),
    }
}

/// Whom it asks now.
fn asked(lookup: &mut Lookup, now: Instant) -> Vec<u8> {
    let steps = std::iter::from_fn(|| match lookup.poll(now) {
        Step::Ask(contact) => Some(contact.node_id.as_bytes()[0]),
        Step::Wait | Step::Done => None,
    });
    steps.collect()
}

fn answer(lookup: &mut Lookup, now: Instant, from: u8, names: &[u8]) {
    lookup.handle_answer(now, &node_id(from), Vec::new(), &contacts(names));
    lookup.check_invariants();
}

fn answer_with(lookup: &mut Lookup, now: Instant, from: u8, claims: Vec<LiveClaim>) {
    lookup.handle_answer(now, &node_id(from), claims, &[]);
    lookup.check_invariants();
}

#[test]
fn flood_of_names_is_bounded() {
    let now = now();
    let mut lookup = Lookup::new(now, quest(now), [contact(0)]);
    assert_eq!(asked(&mut lookup, now), [0]);
    let flood: Vec<u8> = (1..200).collect();
    answer(&mut lookup, now, 0, &flood);
    let learnt = lookup.candidates.len();
    assert_eq!(learnt, 1 + K, "no more than k of an answer count");
}

#[test]
fn with_candidates_enough_the_furthest_that_was_not_asked_gives_way_to_a_closer_one() {
    let mut ids = (0..=u16::MAX).map(|number| {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Contact::new(
            NodeId::from_bytes(bytes),
            contact(1).addresses.iter().copied(),
        )
    });
    let mut candidates = Candidates::new(target());
    for contact in ids.by_ref().take(MAX_CANDIDATES) {
        candidates.insert(&contact, 1);
    }
    let furthest = candidates.places().next_back().unwrap();
    candidates.at_mut(furthest).state = State::Asked;
    let asked = candidates.at(furthest).contact.node_id;
    for contact in ids.take(1000) {
        candidates.insert(&contact, 2);
    }
    candidates.check_invariants();
    assert_eq!(candidates.len(), MAX_CANDIDATES);
    assert!(
        candidates.place(&asked).is_some(),
        "one that was asked gave way"
    );
    let newcomers = candidates.iter().take(10).filter(|peer| peer.depth == 2);
    assert!(newcomers.count() > 3);
}

#[test]
fn without_anybody_to_ask_it_is_over_at_once() {
    let now = now();
    let mut lookup = Lookup::new(now, quest(now), []);
    assert_eq!(lookup.poll(now), Step::Done);
    assert_eq!(lookup.found(now), None);
}

#[test]
fn a_closer_peer_counts_wherever_in_an_answer_it_is_named() {
    let closest_first = by_distance(0..PEERS);
    let (near, far) = closest_first.split_at(2);
    for position in 0..K {
        let now = now();
        let from = far[0];
        let mut names: Vec<u8> = far[1..K].to_vec();
        names.insert(position, near[0]);
        let mut lookup = Lookup::new(now, quest(now), [contact(from)]);
        assert_eq!(asked(&mut lookup, now), [from]);
        answer(&mut lookup, now, from, &names);
        assert_eq!(asked(&mut lookup, now)[0], near[0]);
    }
}

fn among_all(now: Instant) -> Lookup {
    let quest = Quest {
        k: usize::from(PEERS),
        ..quest(now)
    };
    Lookup::new(now, quest, contacts(&(0..PEERS).collect::<Vec<_>>()))
}

#[test]
fn slots_released_by_time_widen_the_lookup_up_to_its_bound_and_answers_narrow_it_again() {
    let now = now();
    let mut lookup = among_all(now);
    let first = asked(&mut lookup, now);
    assert_eq!(first.len(), ALPHA);
    // Each that is slow makes room for one more, besides the one that takes its slot.
    lookup.release_slot(&node_id(first[0]));
    let mut slow = asked(&mut lookup, now);
    assert_eq!(slow.len(), 2);
    for _ in 0..WIDEST * ALPHA {
        lookup.release_slot(&node_id(slow.pop().unwrap()));
        slow.extend(asked(&mut lookup, now));
        lookup.check_invariants();
    }
    assert_eq!(lookup.slots, WIDEST * ALPHA, "as wide as it gets");
    // Progress, so that the lookup is not wide for another reason.
    let new = by_distance(PEERS..LOCAL);
    for _ in 0..2 * ALPHA {
        let peer = slow.pop().unwrap();
        answer(&mut lookup, now, peer, &new[..1]);
        lookup.fruitless = 0;
    }
    assert_eq!(lookup.width(now), ALPHA);
}

#[test]
fn answers_without_progress_widen_the_lookup_until_there_is_some() {
    let now = now();
    let mut lookup = among_all(now);
    let new = by_distance(PEERS..LOCAL);
    let first = asked(&mut lookup, now);
    for (count, peer) in first.into_iter().enumerate() {
        assert_eq!(lookup.width(now), ALPHA, "after {count} answers");
        answer(&mut lookup, now, peer, &[0, 1, LOCAL]);
    }
    let second = asked(&mut lookup, now);
    assert_eq!(second.len(), WIDEST * ALPHA);
    answer(&mut lookup, now, second[0], &[0, new[0], 1]);
    assert_eq!(lookup.width(now), ALPHA);
}

#[test]
fn find_that_wants_more_than_there_are_hears_the_holders_and_no_more() {
    let few = asked_while_all_name_one(9);
    assert!(few.len() < REPLICATION + ALPHA, "{few:?}");
    assert_eq!(few[..REPLICATION], by_distance(0..PEERS)[..REPLICATION]);
    let all = asked_while_all_name_one(MAX_CLAIMS + 1);
    assert!(all.len() >= K, "{all:?}");
}

/// Whom a find asks when every peer names the same provider.
fn asked_while_all_name_one(want: usize) -> Vec<u8> {
    let now = now();
    let seeds: Vec<u8> = (0..PEERS).collect();
    let mut lookup = seeking(now, want, &seeds);
    let mut requests = Vec::new();
    loop {
        let asked = asked(&mut lookup, now);
        if asked.is_empty() {
            break;
        }
        for peer in asked {
            answer_with(&mut lookup, now, peer, vec![record(1)]);
            requests.push(peer);
        }
    }
    assert_eq!(lookup.poll(now), Step::Done);
    requests
}

#[test]
fn one_responder_is_not_enough_to_stop_early() {
    let now = now();
    let seeds: Vec<u8> = (0..10).collect();
    let mut lookup = seeking(now, 1, &seeds);
    let first = asked(&mut lookup, now);
    answer_with(&mut lookup, now, first[0], vec![record(1), record(2)]);
    assert!(matches!(lookup.poll(now), Step::Ask(_)));
    answer_with(&mut lookup, now, first[1], vec![record(1)]);
    assert_eq!(lookup.poll(now), Step::Done);
    let found = lookup.found(now).unwrap();
    assert_eq!(
        (found.providers.len(), found.outcome),
        (2, FindOutcome::Found)
    );
}

#[test]
fn late_answer_counts_before_the_end() {
    let now = now();
    let mut lookup = seeking(now, 9, &[0, 1]);
    assert_eq!(asked(&mut lookup, now).len(), 2);
    lookup.release_slot(&node_id(0));
    answer_with(&mut lookup, now, 0, vec![record(1)]);
    answer_with(&mut lookup, now, 1, vec![]);
    assert_eq!(lookup.poll(now), Step::Done);
    assert_eq!(lookup.found(now).unwrap().providers.len(), 1);
}

#[test]
fn absence_is_told_apart_from_silence() {
    let now = now();
    let seeds: Vec<u8> = (0..5).collect();
    let outcome = |silent: usize| {
        let mut lookup = seeking(now, 1, &seeds);
        for _ in 0..5 {
            for peer in asked(&mut lookup, now) {
                if usize::from(peer) < silent {
                    lookup.release_slot(&node_id(peer));
                } else {
                    answer_with(&mut lookup, now, peer, vec![]);
                }
            }
        }
        let is_over = lookup.poll(now) == Step::Done;
        (is_over, lookup.found(now).unwrap().outcome)
    };
    assert_eq!(outcome(0), (true, FindOutcome::Absent));
    assert_eq!(outcome(5 - QUORUM), (true, FindOutcome::Absent));
    // It goes on to wait for those that are silent.
    assert_eq!(outcome(6 - QUORUM), (false, FindOutcome::Inconclusive));
}

#[test]
fn local_and_remote_claims_are_merged_by_provider() {
    let now = now();
    let mut lookup = seeking(now, 9, &[0, 1]);
    lookup.merge_all(now, vec![record(1), record(2)]);
    for peer in asked(&mut lookup, now) {
        answer_with(&mut lookup, now, peer, vec![record(2), record(3)]);
    }
    assert_eq!(lookup.poll(now), Step::Done);
    let found = lookup.found(now).unwrap();
    let providers: BTreeSet<_> = found
        .providers
        .iter()
        .map(|provider| provider.record.provider())
        .collect();
    assert_eq!((found.providers.len(), providers.len()), (3, 3));
    assert_eq!(found.hops, 0, "the first was held here");
}

#[test]
fn trace_tells_every_request_in_the_order_in_which_they_were_sent() {
    let began = now();
    let mut lookup = seeking(began, 9, &[0, 1, 2]);
    let first = asked(&mut lookup, began);
    let later = began + Duration::from_millis(30);
    let names: Vec<u8> = (3..8).collect();
    let claims = vec![record(1), record(2)];
    lookup.handle_answer(later, &node_id(first[0]), claims, &contacts(&names));
    lookup.handle_failure(later, &node_id(first[1]));
    let second = asked(&mut lookup, later);
    let trace = lookup.found(later).unwrap().trace;
    let peers: Vec<u8> = trace.iter().map(|hop| hop.peer.as_bytes()[0]).collect();
    assert_eq!(peers, [first.clone(), second].concat());
    let after = Duration::from_millis(30);
    let is_closer = |name: &&u8| distance(**name) < distance(first[0]);
    let answered = HopOutcome::Answered {
        after,
        providers: 2,
        closer: names.iter().filter(is_closer).count(),
    };
    let outcomes: Vec<_> = trace.iter().map(|hop| hop.outcome).collect();
    let failed = HopOutcome::Failed { after };
    assert_eq!(
        outcomes[..4],
        [
            answered,
            failed,
            HopOutcome::Unanswered,
            HopOutcome::Unanswered
        ]
    );
    assert_eq!((trace[0].depth, trace[0].sent_after), (1, Duration::ZERO));
    assert_eq!((trace[3].depth, trace[3].sent_after), (2, after));
    let shared = distance(first[0]).leading_zeros();
    assert_eq!(trace[0].shared_bits, shared);
}

#[test]
fn hops_of_a_search_in_vain_lead_to_the_last_of_the_closest() {
    let closest_first = by_distance(0..PEERS);
    let (near, far) = (closest_first[0], closest_first[9]);
    let now = now();
    let mut lookup = seeking(now, 1, &[far]);
    for names in [vec![near], vec![closest_first[1]], vec![]] {
        for peer in asked(&mut lookup, now) {
            answer(&mut lookup, now, peer, &names);
        }
    }
    assert_eq!(lookup.poll(now), Step::Done);
    // The furthest of three is the seed itself, which no answer had to name.
    assert_eq!(lookup.found(now).unwrap().hops, 0);
    assert_eq!(lookup.found(now).unwrap().requests, 3);
}

#[test]
fn hops_to_a_provider_are_those_to_the_first_answer_that_held_one() {
    let closest_first = by_distance(0..PEERS);
    let at = |position: usize| closest_first[position];
    let now = now();
    let mut lookup = seeking(now, 9, &[at(30)]);
    let path = [
        (at(30), vec![], vec![at(20)]),
        (at(20), vec![], vec![at(10)]),
        (at(10), vec![record(1)], vec![at(1)]),
        (at(1), vec![record(2)], vec![]),
    ];
    for (peer, claims, names) in path {
        assert_eq!(asked(&mut lookup, now), [peer]);
        lookup.handle_answer(now, &node_id(peer), claims, &contacts(&names));
        lookup.check_invariants();
    }
    assert_eq!(lookup.poll(now), Step::Done);
    let found = lookup.found(now).unwrap();
    assert_eq!((found.providers.len(), found.hops), (2, 3));
}

#[test]
fn hops_of_a_search_in_vain_count_every_answer_that_led_to_the_closest() {
    let closest_first = by_distance(0..PEERS);
    let ring = |from: usize| &closest_first[from..from + K];
    let (near, middle, far) = (ring(0), ring(10), ring(20));
    let now = now();
    let mut lookup = seeking(now, 1, far);
    loop {
        let asked = asked(&mut lookup, now);
        if asked.is_empty() {
            break;
        }
        for peer in asked {
            let names = match peer {
                peer if far.contains(&peer) => middle,
                peer if middle.contains(&peer) => near,
                _ => &[],
            };
            answer(&mut lookup, now, peer, names);
        }
    }
    assert_eq!(lookup.poll(now), Step::Done);
    let found = lookup.found(now).unwrap();
    assert_eq!((found.outcome, found.hops), (FindOutcome::Absent, 2));
}
