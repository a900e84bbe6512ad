//! One machine by itself: what it hands out, what it ignores, what it refuses.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use macula_core::{
    Contact, Delivery, Extensions, Key, Metadata, NodeId, ProviderRecord, Realm, RecordDraft,
    SecretKey, Timestamp,
};
use macula_dht::DhtError;
use macula_dht::kad::{
    Ask, KadConfig, KadConfigError, Kademlia, Local, OperationResult, Outbound, Output, Search,
};
use macula_dht::message::{LiveRecord, MAX_CLAIMS, Request, Response, StoreOutcome, wire};

use crate::virtual_network::service_key;

#[test]
fn contacts_it_only_heard_of_are_not_handed_out() {
    let mut bed = Bed::new(KadConfig::default());
    bed.reach(1);
    bed.find();
    let request = bed.sent().pop().unwrap();
    let closer = (2..10).map(contact).collect();
    bed.answer_lookup(&request, closer);
    let key = Key::from_bytes([0; 32]);
    let answer = bed.ask(99, Request::FindNode { key });
    let closer = vec![contact(1)];
    assert_eq!(answer, Response::Nodes { closer });
}

#[test]
fn asker_is_not_told_about_itself() {
    let mut bed = Bed::new(KadConfig::default());
    bed.reach(1);
    bed.reach(2);
    let key = Key::from_bytes([0; 32]);
    let answer = bed.ask(1, Request::FindNode { key });
    let closer = vec![contact(2)];
    assert_eq!(answer, Response::Nodes { closer });
}

#[test]
fn late_and_duplicate_answers_are_counted_and_ignored() {
    let mut bed = Bed::new(KadConfig::default());
    bed.reach(1);
    bed.find();
    let requests = bed.sent();
    for request in &requests {
        bed.answer_lookup(request, Vec::new());
        bed.answer_lookup(request, Vec::new());
    }
    let stats = bed.machine.stats();
    assert_eq!(stats.answers_ignored, requests.len() as u64);
    assert_eq!((stats.operations, stats.requests_in_flight), (0, 0));
}

#[test]
fn answer_of_another_kind_counts_as_none() {
    let mut bed = Bed::new(KadConfig::default());
    bed.reach(1);
    bed.find();
    for request in bed.sent() {
        let now = bed.now;
        bed.machine
            .handle_response(now, request.request_id, Response::Pong);
    }
    assert!(bed.machine.stats().answers_mismatched > 0);
    assert_eq!(bed.machine.stats().operations, 0);
}

#[test]
fn find_among_silent_peers_ends_by_its_deadline() {
    let mut bed = Bed::new(KadConfig::default());
    for peer in 1..100 {
        bed.reach(peer);
    }
    let deadline = bed.now + FIND_TIMEOUT;
    bed.find();
    loop {
        let found = bed.outputs().into_iter().find_map(|output| match output {
            Output::Done {
                result: OperationResult::Found(found),
                ..
            } => Some(found),
            _ => None,
        });
        if let Some(found) = found {
            assert!(found.unwrap().providers.is_empty());
            break;
        }
        bed.now = bed.machine.poll_timeout().unwrap();
        assert!(bed.now <= deadline, "the deadline has passed");
        let now = bed.now;
        bed.machine.handle_timeout(now);
        bed.machine.check_invariants();
    }
}

#[test]
fn every_provider_beyond_the_reply_size_is_surfaced_sometimes() {
    let mut bed = Bed::new(KadConfig::default());
    let records = (1..=20).map(record).collect();
    let outcomes = vec![StoreOutcome::Stored; 20];
    assert_eq!(
        bed.ask(1, Request::Store { records }),
        Response::Stored { outcomes }
    );
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let want = NonZeroUsize::new(2).unwrap();
        let key = service_key("a.service");
        let Response::Providers(answer) = bed.ask(1, Request::FindProviders { key, want }) else {
            panic!("another answer");
        };
        assert_eq!(answer.records.len(), 2);
        seen.extend(answer.records.iter().map(|live| live.record.provider()));
    }
    assert_eq!(seen.len(), 20);
}

#[test]
fn providers_beyond_what_an_answer_holds_are_each_surfaced_sometimes() {
    let mut bed = Bed::new(KadConfig::default());
    let records: Vec<_> = (1..=100).map(record).collect();
    for records in records.chunks(MAX_CLAIMS) {
        let records = records.to_vec();
        bed.ask(1, Request::Store { records });
    }
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let want = NonZeroUsize::new(1000).unwrap();
        let key = service_key("a.service");
        let response = bed.ask(1, Request::FindProviders { key, want });
        assert!(wire::encode_response(&response, &[]).is_ok());
        let Response::Providers(answer) = response else {
            panic!("another answer");
        };
        let providers: BTreeSet<_> = answer
            .records
            .iter()
            .map(|live| live.record.provider())
            .collect();
        assert_eq!(
            (answer.records.len(), providers.len()),
            (MAX_CLAIMS, MAX_CLAIMS)
        );
        seen.extend(providers);
    }
    assert_eq!(seen.len(), 100);
}

#[test]
fn one_operation_too_many_is_refused() {
    let config = KadConfig {
        max_operations: NonZeroUsize::new(2).unwrap(),
        ..KadConfig::default()
    };
    let mut bed = Bed::new(config);
    // Its own lookup of its neighbours counts as one.
    bed.reach(1);
    bed.find();
    bed.find();
    let refused = bed.outputs().into_iter().any(|output| {
        matches!(
            output,
            Output::Done {
                result: OperationResult::Found(Err(DhtError::Overloaded)),
                ..
            }
        )
    });
    assert!(refused);
}

#[test]
fn node_that_does_not_serve_refuses_and_holds_nothing() {
    let mut bed = Bed::serving(KadConfig::default(), false);
    let records = vec![record(1)];
    assert_eq!(bed.ask(1, Request::Store { records }), Response::Refused);
    assert_eq!(bed.ask(1, Request::Ping), Response::Refused);
    assert_eq!(bed.machine.stats().records, 0);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let at_least = |number| NonZeroUsize::new(number).unwrap();
    let with = |change: fn(&mut KadConfig, NonZeroUsize), number| {
        let mut config = KadConfig::default();
        change(&mut config, at_least(number));
        config.check().err()
    };
    assert_eq!(KadConfig::default().check(), Ok(()));
    assert!(matches!(
        with(|config, k| config.k = k, 21),
        Some(KadConfigError::TooManyContacts(_))
    ));
    assert!(matches!(
        with(|config, quorum| config.quorum = quorum, 9),
        Some(KadConfigError::QuorumAboveReplication { .. })
    ));
    assert!(matches!(
        with(|config, k| config.k = k, 7),
        Some(KadConfigError::ReplicationAboveK { .. })
    ));
    assert_eq!(
        with(|config, _| config.request_timeout = Duration::ZERO, 1),
        Some(KadConfigError::ZeroDuration)
    );
    assert_eq!(
        with(|config, _| config.refresh_interval = Duration::MAX, 1),
        Some(KadConfigError::TooLong(Duration::MAX))
    );
}

pub(crate) struct Bed {
    pub(crate) machine: Kademlia,
    pub(crate) now: Instant,
}

impl Bed {
    pub(crate) fn new(config: KadConfig) -> Self {
        Self::serving(config, true)
    }

    fn serving(config: KadConfig, serves: bool) -> Self {
        let node_id = NodeId::from_bytes([0; 32]);
        Self {
            machine: Kademlia::new(config, Local { node_id, serves }, 1).unwrap(),
            now: tokio::time::Instant::now().into_std(),
        }
    }

    pub(crate) fn reach(&mut self, peer: u8) {
        self.machine.handle_reached(self.now, contact(peer));
    }

    fn find(&mut self) {
        let search = Search {
            key: service_key("a.service"),
            want: NonZeroUsize::MIN,
            timeout: FIND_TIMEOUT,
            ask: Ask::Network,
            trace: false,
        };
        self.machine.find(self.now, search);
        self.machine.check_invariants();
    }

    fn ask(&mut self, from: u8, request: Request) -> Response {
        let from = contact(from).node_id;
        let response = self.machine.answer(self.now, from, request);
        self.machine.check_invariants();
        response
    }

    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.machine.poll_output()).collect()
    }

    fn sent(&mut self) -> Vec<Outbound> {
        let outputs = self.outputs().into_iter();
        let sent = outputs.filter_map(|output| match output {
            Output::Send(outbound) => Some(outbound),
            _ => None,
        });
        sent.collect()
    }

    fn answer_lookup(&mut self, outbound: &Outbound, closer: Vec<Contact>) {
        let response = match outbound.request {
            Request::FindProviders { .. } => {
                Response::Providers(macula_dht::message::ProvidersAnswer {
                    closer,
                    ..Default::default()
                })
            }
            _ => Response::Nodes { closer },
        };
        self.machine
            .handle_response(self.now, outbound.request_id, response);
        self.machine.check_invariants();
    }
}

pub(crate) fn contact(peer: u8) -> Contact {
    Contact::new(
        NodeId::from_bytes([peer; 32]),
        ["10.0.0.1:4433".parse().unwrap()],
    )
}

pub(crate) fn record(provider: u8) -> LiveRecord {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: "a.service".parse().unwrap(),
        addresses: contact(provider).addresses,
        metadata: Metadata::new(),
        delivery: Delivery::AtLeastOnce,
        seq: 1,
        issued_at: Timestamp::default(),
        ttl: FIND_TIMEOUT * 10,
        extensions: Extensions::default(),
    };
    let record = ProviderRecord::sign(&SecretKey::from_bytes(&[provider; 32]), draft).unwrap();
    let life = record.ttl();
    LiveRecord { record, life }
}

const FIND_TIMEOUT: Duration = Duration::from_secs(3);
