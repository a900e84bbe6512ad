//! Searches of one machine: who shares one, what each is told, and what comes too late.

use std::num::NonZeroUsize;
use std::time::Duration;

use macula_core::{NodeId, Realm, SecretKey, Timestamp, Withdrawal, WithdrawalDraft};
use macula_dht::kad::{Ask, KadConfig, OperationId, OperationResult, Outbound, Output, Search};
use macula_dht::message::{LiveRecord, LiveWithdrawal, ProvidersAnswer, Request, Response};
use macula_dht::{DhtError, FindOutcome, Found, HopOutcome};

use crate::machine::{Bed, contact, record};
use crate::virtual_network::service_key;

/// One machine that knows some peers, and what it did.
struct Stage {
    bed: Bed,
    sent: Vec<Outbound>,
    done: Vec<(OperationId, Result<Found, DhtError>)>,
}

impl Stage {
    fn knowing(peers: std::ops::RangeInclusive<u8>) -> Self {
        Self::with(KadConfig::default(), peers)
    }

    fn with(config: KadConfig, peers: std::ops::RangeInclusive<u8>) -> Self {
        let mut bed = Bed::new(config);
        for peer in peers {
            bed.reach(peer);
        }
        let mut stage = Self {
            bed,
            sent: Vec::new(),
            done: Vec::new(),
        };
        stage.drain();
        // The walks that new contacts begin are no part of the story.
        stage.sent.clear();
        stage
    }

    fn find(&mut self, search: Search) -> OperationId {
        let operation = self.bed.machine.find(self.bed.now, search);
        self.drain();
        operation
    }

    fn pass(&mut self, millis: u64) {
        let until = self.bed.now + Duration::from_millis(millis);
        while let Some(at) = self.bed.machine.poll_timeout().filter(|at| *at <= until) {
            self.bed.now = at.max(self.bed.now);
            self.bed.machine.handle_timeout(self.bed.now);
            self.drain();
        }
        self.bed.now = until;
    }

    fn answer(&mut self, outbound: &Outbound, records: Vec<LiveRecord>) {
        let answer = ProvidersAnswer {
            records,
            ..ProvidersAnswer::default()
        };
        self.answer_with(outbound, answer);
    }

    fn answer_with(&mut self, outbound: &Outbound, answer: ProvidersAnswer) {
        let response = Response::Providers(answer);
        let now = self.bed.now;
        self.bed
            .machine
            .handle_response(now, outbound.request_id, response);
        self.drain();
    }

    /// The finds' requests since the last call.
    fn asked(&mut self) -> Vec<Outbound> {
        let sent = std::mem::take(&mut self.sent).into_iter();
        sent.filter(|sent| matches!(sent.request, Request::FindProviders { .. }))
            .collect()
    }

    /// Lets everybody who is asked answer, until nobody is.
    fn answer_all(&mut self, records: &[LiveRecord]) {
        loop {
            let asked = self.asked();
            if asked.is_empty() {
                break;
            }
            for outbound in asked {
                self.answer(&outbound, records.to_vec());
            }
        }
    }

    fn result(&self, operation: OperationId) -> Option<&Found> {
        let mut done = self.done.iter().filter(|(done, _)| *done == operation);
        let result = done.next().map(|(_, found)| found.as_ref().unwrap());
        assert!(done.next().is_none(), "told twice");
        result
    }

    fn drain(&mut self) {
        self.bed.machine.check_invariants();
        for output in self.bed.outputs() {
            match output {
                Output::Send(outbound) => self.sent.push(outbound),
                Output::Done {
                    operation,
                    result: OperationResult::Found(found),
                } => self.done.push((operation, found)),
                _ => {}
            }
        }
    }
}

fn search(want: usize, millis: u64) -> Search {
    Search {
        key: service_key("a.service"),
        want: NonZeroUsize::new(want).unwrap(),
        timeout: Duration::from_millis(millis),
        ask: Ask::Network,
        trace: false,
    }
}

fn ids(found: &Found) -> Vec<NodeId> {
    let mut ids: Vec<_> = found
        .providers
        .iter()
        .map(|provider| provider.record.provider())
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn finds_of_one_key_share_one_search() {
    let mut stage = Stage::knowing(1..=30);
    let before = stage.bed.machine.stats();
    let finds: Vec<_> = (0..5).map(|_| stage.find(search(9, 3000))).collect();
    assert_eq!(stage.sent.len(), 3, "as many as one search has slots");
    stage.answer_all(&[record(1)]);
    for find in finds {
        assert_eq!(stage.result(find).unwrap().providers.len(), 1);
    }
    let stats = stage.bed.machine.stats();
    assert_eq!(stats.lookups - before.lookups, 1);
    assert_eq!(stats.finds_joined, 4);
    assert_eq!(stats.operations, before.operations);
}

#[test]
fn each_of_those_who_share_a_search_keeps_its_own_deadline() {
    let mut stage = Stage::knowing(1..=30);
    let operations = stage.bed.machine.stats().operations;
    let (short, long) = (stage.find(search(9, 500)), stage.find(search(9, 1000)));
    let hasty = stage.find(search(9, 100));
    let asked = stage.asked();
    stage.pass(50);
    stage.answer(&asked[0], vec![record(1)]);
    stage.pass(49);
    assert_eq!(stage.result(hasty), None);
    stage.pass(1);
    assert_eq!(stage.result(hasty).unwrap().providers.len(), 1);
    assert_eq!(stage.result(short), None);
    stage.pass(400);
    assert_eq!(stage.result(short).unwrap().outcome, FindOutcome::Found);
    assert_eq!(stage.result(long), None, "ends with the one it joined");
    stage.pass(500);
    assert!(stage.result(long).is_some());
    assert_eq!(stage.bed.machine.stats().operations, operations);
}

#[test]
fn who_wants_less_is_told_earlier_and_who_wants_more_searches_alone() {
    let mut stage = Stage::knowing(1..=30);
    let two = stage.find(search(2, 3000));
    let one = stage.find(search(1, 3000));
    let three = stage.find(search(3, 3000));
    assert_eq!(stage.bed.machine.stats().finds_joined, 1);
    let first = stage.asked();
    for outbound in &first[..2] {
        stage.answer(outbound, vec![record(1)]);
    }
    assert_eq!(stage.result(one).unwrap().providers.len(), 1);
    assert_eq!((stage.result(two), stage.result(three)), (None, None));
    stage.answer(&first[2], vec![record(2)]);
    assert_eq!(stage.result(two).unwrap().providers.len(), 2);
    assert_eq!(stage.result(three), None);
}

#[test]
fn search_that_began_long_ago_or_asks_others_is_not_joined() {
    let mut stage = Stage::knowing(1..=30);
    let only = |peers: &[u8]| Search {
        ask: Ask::Only(peers.iter().copied().map(contact).collect()),
        ..search(1, 5000)
    };
    let joined = |stage: &mut Stage, search| {
        let before = stage.bed.machine.stats().finds_joined;
        stage.find(search);
        stage.bed.machine.stats().finds_joined > before
    };
    assert!(!joined(&mut stage, search(1, 5000)));
    assert!(joined(&mut stage, search(1, 5000)));
    assert!(!joined(&mut stage, only(&[1, 2])));
    assert!(joined(&mut stage, only(&[1, 2])));
    assert!(!joined(&mut stage, only(&[1, 3])));
    let traced = Search {
        trace: true,
        ..only(&[1, 3])
    };
    assert!(!joined(&mut stage, traced.clone()), "nobody noted it down");
    assert!(joined(&mut stage, traced));
    stage.pass(1001);
    // What it heard by now may have been withdrawn since.
    assert!(!joined(&mut stage, only(&[1, 3])));
}

#[test]
fn those_who_join_count_as_operations() {
    let config = KadConfig {
        max_operations: NonZeroUsize::new(3).unwrap(),
        ..KadConfig::default()
    };
    let mut stage = Stage::with(config, 1..=1);
    stage.pass(5000);
    for _ in 0..3 {
        stage.find(search(1, 3000));
    }
    assert_eq!(stage.done.len(), 0);
    stage.find(search(1, 3000));
    assert!(matches!(stage.done[..], [(_, Err(DhtError::Overloaded))]));
}

#[test]
fn late_answer_counts_before_the_end_and_is_ignored_after_it() {
    let mut stage = Stage::knowing(1..=4);
    let find = stage.find(search(9, 3000));
    let asked = stage.asked();
    stage.pass(1100);
    assert_eq!(stage.asked().len(), 1, "slots were given up");
    stage.answer(&asked[0], vec![record(1)]);
    let found = stage.result(find).unwrap().clone();
    assert_eq!(found.providers.len(), 1);
    stage.answer(&asked[2], vec![record(3)]);
    assert_eq!(stage.result(find), Some(&found));
}

#[test]
fn peer_that_hangs_delays_nothing_beyond_the_release_of_its_slot() {
    let mut stage = Stage::knowing(1..=30);
    let find = stage.find(search(1, 3000));
    let hung = stage.asked();
    assert_eq!(hung.len(), 3);
    stage.pass(600);
    let instead = stage.asked();
    assert!(instead.len() > 3, "{} stand in for three", instead.len());
    for outbound in &instead[..2] {
        stage.answer(outbound, vec![record(1)]);
    }
    assert_eq!(stage.result(find).unwrap().providers.len(), 1);
}

#[test]
fn peer_known_to_be_fast_loses_its_slot_sooner_than_one_unknown() {
    let mut stage = Stage::knowing(1..=3);
    // Each has answered at once.
    stage.find(search(9, 3000));
    stage.answer_all(&[]);
    let events = |stage: &Stage| stage.bed.machine.poll_timeout().unwrap() - stage.bed.now;
    stage.find(search(9, 3000));
    let known = events(&stage);
    let mut strangers = Stage::knowing(1..=3);
    strangers.find(search(9, 3000));
    assert!(known < events(&strangers), "{known:?}");
}

#[test]
fn own_holdings_and_answers_are_merged_by_provider() {
    let mut stage = Stage::knowing(1..=5);
    let (now, from) = (stage.bed.now, contact(1).node_id);
    let records = vec![record(1), record(2)];
    let store = Request::Store { records };
    stage.bed.machine.answer(now, from, store);
    let find = stage.find(search(9, 3000));
    stage.answer_all(&[record(2), record(3)]);
    let found = stage.result(find).unwrap();
    let mut expected: Vec<_> = (1..=3).map(|n| record(n).record.provider()).collect();
    expected.sort_unstable();
    assert_eq!(ids(found), expected);
    assert_eq!(found.hops, 0);
}

#[test]
fn withdrawal_that_one_holder_names_masks_the_stale_record_of_another_in_any_order() {
    for is_stale in [[true, false], [false, true]] {
        for others in [vec![], vec![record(2)]] {
            let mut stage = Stage::knowing(1..=2);
            let find = stage.find(search(9, 3000));
            let asked = stage.asked();
            for (outbound, is_stale) in asked.iter().zip(is_stale) {
                stage.answer_with(outbound, holder(is_stale, &others));
            }
            let found = stage.result(find).unwrap();
            let expected: Vec<_> = others.iter().map(|live| live.record.provider()).collect();
            assert_eq!(ids(found), expected);
            let outcome = if others.is_empty() {
                FindOutcome::Absent
            } else {
                FindOutcome::Found
            };
            assert_eq!(found.outcome, outcome);
        }
    }
}

/// What a holder names that has missed the withdrawal of the first provider, or one that has not.
fn holder(is_stale: bool, others: &[LiveRecord]) -> ProvidersAnswer {
    let mut answer = ProvidersAnswer {
        records: others.to_vec(),
        ..ProvidersAnswer::default()
    };
    if is_stale {
        answer.records.push(record(1));
    } else {
        answer.withdrawals.push(withdrawal(1));
    }
    answer
}

/// Retracts what [`record`] makes.
fn withdrawal(provider: u8) -> LiveWithdrawal {
    let record = record(provider);
    let draft = WithdrawalDraft {
        realm: Realm::default(),
        service: "a.service".parse().unwrap(),
        seq: record.record.seq(),
        until: Timestamp::default().saturating_add(record.life),
    };
    let secret_key = SecretKey::from_bytes(&[provider; 32]);
    LiveWithdrawal {
        withdrawal: Withdrawal::sign(&secret_key, draft).unwrap(),
        life: record.life,
    }
}

#[test]
fn trace_tells_every_request_of_the_machine() {
    let mut stage = Stage::knowing(1..=5);
    let find = stage.find(Search {
        trace: true,
        ..search(9, 3000)
    });
    let asked = stage.asked();
    stage.pass(20);
    stage.answer(&asked[0], vec![record(1)]);
    let now = stage.bed.now;
    stage.bed.machine.handle_failure(now, asked[1].request_id);
    stage.drain();
    stage.pass(3000);
    let found = stage.result(find).unwrap();
    assert_eq!((found.trace.len(), found.requests), (5, 5));
    let peers: Vec<_> = found.trace[..3].iter().map(|hop| hop.peer).collect();
    let expected: Vec<_> = asked.iter().map(|sent| sent.to.node_id).collect();
    assert_eq!(peers, expected);
    let after = Duration::from_millis(20);
    let answered = HopOutcome::Answered {
        after,
        providers: 1,
        closer: 0,
    };
    assert_eq!(found.trace[0].outcome, answered);
    assert_eq!(found.trace[1].outcome, HopOutcome::Failed { after });
    assert_eq!(found.trace[3].sent_after, after);
}
