//! DHT messages as bytes: every kind round-trips, claims that are not valid spoil only themselves,
//! and garbage is refused.
//!
//! Their bytes are checked in under `tests/golden/`. When a change of the wire is meant, renew them
//! and commit them with it:
//!
//! ```sh
//! MACULA_RENEW_GOLDEN=1 cargo test -p macula-dht golden
//! ```

use std::num::NonZeroUsize;
use std::time::Duration;

use macula_core::{
    CLOCK_SKEW, Claim, Contact, Delivery, Extensions, Key, Metadata, ProviderRecord, Realm,
    RecordDraft, SecretKey, Timestamp, Withdrawal, WithdrawalDraft,
};
use macula_dht::message::{
    LiveRecord, LiveWithdrawal, MAX_CLAIMS, MAX_CONTACTS, ProvidersAnswer, Request, Response,
    StoreOutcome, wire,
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
const TTL: Duration = Duration::from_secs(300);
const LIFE: Duration = Duration::from_secs(200);

fn contact(seed: u8) -> Contact {
    let node_id = SecretKey::from_bytes(&[seed; 32]).node_id();
    Contact::new(node_id, ["10.0.0.1:4433".parse().unwrap()])
}

fn record(seed: u8, issued_at: Timestamp) -> LiveRecord {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: "a.service".parse().unwrap(),
        addresses: contact(seed).addresses,
        metadata: Metadata::new(),
        delivery: Delivery::AtLeastOnce,
        seq: 1,
        issued_at,
        ttl: TTL,
        extensions: Extensions::default(),
    };
    LiveRecord {
        record: ProviderRecord::sign(&SecretKey::from_bytes(&[seed; 32]), draft).unwrap(),
        life: LIFE,
    }
}

fn withdrawal(seed: u8) -> LiveWithdrawal {
    let draft = WithdrawalDraft {
        realm: Realm::default(),
        service: "a.service".parse().unwrap(),
        seq: 2,
        until: NOW.saturating_add(TTL),
    };
    LiveWithdrawal {
        withdrawal: Withdrawal::sign(&SecretKey::from_bytes(&[seed; 32]), draft).unwrap(),
        life: TTL + CLOCK_SKEW,
    }
}

fn requests() -> Vec<Request> {
    let key = Key::from_bytes([7; 32]);
    vec![
        Request::Ping,
        Request::FindNode { key },
        Request::FindProviders {
            key,
            want: NonZeroUsize::new(300).unwrap(),
        },
        Request::Store {
            records: vec![record(1, NOW), record(2, NOW)],
        },
        Request::Withdraw {
            withdrawals: vec![withdrawal(1)],
        },
    ]
}

fn responses() -> Vec<Response> {
    vec![
        Response::Pong,
        Response::Nodes {
            closer: vec![contact(1), contact(2)],
        },
        Response::Providers(ProvidersAnswer {
            records: vec![record(1, NOW)],
            withdrawals: vec![withdrawal(2)],
            closer: vec![contact(3)],
        }),
        Response::Stored {
            outcomes: vec![StoreOutcome::Stored, StoreOutcome::Full],
        },
        Response::Refused,
    ]
}

#[test]
fn every_message_round_trips() {
    for request in requests() {
        let bytes = wire::encode_request(&request).unwrap();
        let decoded = wire::decode_request(&bytes, NOW).unwrap();
        assert_eq!((decoded.request, decoded.refused), (request, vec![]));
    }
    for response in responses() {
        let bytes = wire::encode_response(&response, &[]).unwrap();
        let decoded = wire::decode_response(&bytes, NOW).unwrap();
        assert_eq!((decoded.response, decoded.refused), (response, 0));
    }
}

#[test]
fn extension_of_a_later_version_is_skipped() {
    let ping_with_extension = [0, 1, 5, 1, b'x'];
    let inbound = wire::decode_request(&ping_with_extension, NOW).unwrap();
    assert_eq!(inbound.request, Request::Ping);
}

#[test]
fn golden_bytes_of_every_message_are_unchanged() {
    let requests = requests();
    let requests = requests.iter().map(wire::encode_request);
    let responses = responses();
    let responses = responses
        .iter()
        .map(|response| wire::encode_response(response, &[]));
    let lines: String = requests
        .chain(responses)
        .map(|bytes| hex(&bytes.unwrap()) + "\n")
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/messages.hex");
    if std::env::var_os("MACULA_RENEW_GOLDEN").is_some() {
        std::fs::write(path, &lines).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(lines, golden, "the wire has changed");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn record_that_is_not_valid_is_refused_in_its_place() {
    let too_old = NOW.saturating_sub(TTL + CLOCK_SKEW + Duration::from_secs(1));
    let request = Request::Store {
        records: vec![record(1, too_old), record(2, NOW), record(3, too_old)],
    };
    let bytes = wire::encode_request(&request).unwrap();
    let inbound = wire::decode_request(&bytes, NOW).unwrap();
    let valid = vec![record(2, NOW)];
    assert_eq!(inbound.request, Request::Store { records: valid });
    assert_eq!(inbound.refused, [0, 2]);

    let outcomes = vec![StoreOutcome::Stored];
    let bytes = wire::encode_response(&Response::Stored { outcomes }, &inbound.refused).unwrap();
    let (stored, refused) = (StoreOutcome::Stored, StoreOutcome::Refused);
    let outcomes = vec![refused, stored, refused];
    let answer = wire::decode_response(&bytes, NOW).unwrap().response;
    assert_eq!(answer, Response::Stored { outcomes });
}

#[test]
fn bad_record_in_an_answer_is_lost_alone() {
    let too_old = NOW.saturating_sub(TTL + CLOCK_SKEW + Duration::from_secs(1));
    let answer = ProvidersAnswer {
        records: vec![record(1, too_old), record(2, NOW)],
        withdrawals: Vec::new(),
        closer: vec![contact(3)],
    };
    let bytes = wire::encode_response(&Response::Providers(answer), &[]).unwrap();
    let inbound = wire::decode_response(&bytes, NOW).unwrap();
    let answer = ProvidersAnswer {
        records: vec![record(2, NOW)],
        withdrawals: Vec::new(),
        closer: vec![contact(3)],
    };
    assert_eq!(inbound.response, Response::Providers(answer));
    assert_eq!(inbound.refused, 1);
}

#[test]
fn sender_cannot_state_more_life_than_was_signed() {
    let mut forever = record(1, NOW);
    forever.life = Duration::from_secs(u32::MAX.into());
    let records = vec![forever];
    let bytes = wire::encode_request(&Request::Store { records }).unwrap();
    let Request::Store { records } = wire::decode_request(&bytes, NOW).unwrap().request else {
        panic!("another request came out");
    };
    assert_eq!(records[0].life, TTL);
}

#[test]
fn request_for_no_providers_is_malformed() {
    let key = Key::from_bytes([7; 32]);
    let want = NonZeroUsize::MIN;
    let mut bytes = wire::encode_request(&Request::FindProviders { key, want }).unwrap();
    let want_at = bytes.len() - 2;
    assert_eq!(bytes[want_at], 1);
    bytes[want_at] = 0;
    assert!(wire::decode_request(&bytes, NOW).is_err());
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _request = wire::decode_request(&bytes, NOW);
        let _response = wire::decode_response(&bytes, NOW);
    }

    #[test]
    fn damaged_messages_never_pass_a_claim_that_was_not_signed(
        which in 0..10_usize,
        position in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        truncate in any::<bool>(),
    ) {
        let requests = requests();
        let is_request = which < requests.len();
        let mut bytes = if is_request {
            wire::encode_request(&requests[which]).unwrap()
        } else {
            wire::encode_response(&responses()[which - requests.len()], &[]).unwrap()
        };
        let position = position.index(bytes.len());
        if truncate {
            bytes.truncate(position);
        } else {
            bytes[position] ^= flip;
        }
        let passed = if is_request {
            wire::decode_request(&bytes, NOW).ok().map(|inbound| claims_of_request(inbound.request))
        } else {
            wire::decode_response(&bytes, NOW).ok().map(|inbound| claims_of_response(inbound.response))
        };
        prop_assert!(!truncate || passed.is_none(), "half a message passed");
        for (claim, life) in passed.unwrap_or_default() {
            let longest = signed_claims().into_iter().find(|(signed, _)| *signed == claim);
            prop_assert!(longest.is_some_and(|(_, longest)| life <= longest));
        }
    }
}

/// Every claim that a message of these tests carries, and the longest life that was signed.
fn signed_claims() -> Vec<(Claim, Duration)> {
    let records = [1, 2].map(|seed| (record(seed, NOW).record.into(), TTL));
    let withdrawals = [1, 2]
        .map(withdrawal)
        .map(|live| (live.withdrawal.into(), live.life));
    records.into_iter().chain(withdrawals).collect()
}

fn claims_of_request(request: Request) -> Vec<(Claim, Duration)> {
    match request {
        Request::Store { records } => claims(records, Vec::new()),
        Request::Withdraw { withdrawals } => claims(Vec::new(), withdrawals),
        _ => Vec::new(),
    }
}

fn claims_of_response(response: Response) -> Vec<(Claim, Duration)> {
    match response {
        Response::Providers(answer) => claims(answer.records, answer.withdrawals),
        _ => Vec::new(),
    }
}

fn claims(records: Vec<LiveRecord>, withdrawals: Vec<LiveWithdrawal>) -> Vec<(Claim, Duration)> {
    let records = records
        .into_iter()
        .map(|live| (live.record.into(), live.life));
    let withdrawals = withdrawals
        .into_iter()
        .map(|live| (live.withdrawal.into(), live.life));
    records.chain(withdrawals).collect()
}

#[test]
fn the_bounds_in_the_specification_are_those_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SPEC.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = [
        (
            "macula_dht::message::wire::MAX_MESSAGE_BYTES",
            wire::MAX_MESSAGE_BYTES,
        ),
        ("MAX_CONTACTS", MAX_CONTACTS),
        ("MAX_CLAIMS", MAX_CLAIMS),
    ];
    for (name, value) in rows {
        let row = format!("| `{name}` | {value} |\n");
        assert!(text.contains(&row), "{row}");
    }
}
