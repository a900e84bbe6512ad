//! Merged claims beside a naive oracle, under operations in any order.

use std::sync::LazyLock;
use std::time::Duration;

use macula_core::{
    Addresses, Delivery, Extensions, Metadata, ProviderRecord, Realm, RecordDraft, SecretKey,
    Timestamp, Withdrawal, WithdrawalDraft,
};
use proptest::prelude::*;

use super::*;

const SERVICE: &str = "a.service";
const PROVIDERS: [u8; 3] = [1, 2, 3];
const SEQS: u64 = 3;

#[derive(Debug, Clone, Copy)]
enum Operation {
    /// Merges one of [`CLAIMS`], which counts for so many seconds.
    Merge(usize, u64),
    /// Lets so many seconds pass.
    Pass(u64),
}

/// Every claim the operations can merge; the last is under another key.
static CLAIMS: LazyLock<Vec<Claim>> = LazyLock::new(|| {
    let mut claims = Vec::new();
    for provider in PROVIDERS {
        for seq in 0..SEQS {
            claims.push(record(provider, SERVICE, seq));
            claims.push(withdrawal(provider, seq));
        }
    }
    claims.push(record(PROVIDERS[0], "another.service", SEQS));
    claims
});

/// Everything that was merged, and nothing clever.
#[derive(Default)]
struct Oracle {
    merged: Vec<(Claim, Instant)>,
}

impl Oracle {
    /// Of each provider the claim that takes precedence, at its latest expiry.
    fn providers(&self, now: Instant) -> BTreeMap<NodeId, (Claim, Duration)> {
        let mut newest: BTreeMap<NodeId, &(Claim, Instant)> = BTreeMap::new();
        for merged in &self.merged {
            let rank = |(claim, expires_at): &(Claim, Instant)| (claim.precedence(), *expires_at);
            let best = newest.entry(merged.0.provider()).or_insert(merged);
            if rank(merged) > rank(best) {
                *best = merged;
            }
        }
        let live = newest.into_iter().filter_map(|(provider, known)| {
            let (claim, expires_at) = known;
            let is_record = matches!(claim, Claim::Record(_));
            let life = expires_at.saturating_duration_since(now);
            (is_record && !life.is_zero()).then(|| (provider, (claim.clone(), life)))
        });
        live.collect()
    }
}

proptest! {
    #[test]
    fn merged_claims_equal_the_oracle(operations in prop::collection::vec(operation(), 1..60)) {
        let mut now = started();
        let mut claims = Claims::new(CLAIMS[0].key());
        let mut oracle = Oracle::default();
        for operation in operations {
            match operation {
                Operation::Pass(seconds) => now += Duration::from_secs(seconds),
                Operation::Merge(index, seconds) => {
                    let live = live(index, seconds);
                    let fits = live.claim.key() == CLAIMS[0].key();
                    if fits {
                        oracle.merged.push((live.claim.clone(), now + live.life));
                    }
                    prop_assert_eq!(claims.merge(now, live), fits);
                }
            }
            let expected = oracle.providers(now);
            let providers = claims.providers(now);
            prop_assert!(providers.is_sorted_by(|a, b| a.life >= b.life));
            prop_assert_eq!(providers.len(), expected.len());
            for count in 0..=PROVIDERS.len() + 1 {
                prop_assert_eq!(claims.has(now, count), expected.len() >= count);
            }
            let seen: BTreeMap<_, _> = providers
                .into_iter()
                .map(|found| (found.record.provider(), (Claim::Record(found.record), found.life)))
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn same_claims_in_any_order_come_to_the_same(
        (first, second) in claims().prop_flat_map(|claims| {
            (Just(claims.clone()), Just(claims).prop_shuffle())
        }),
    ) {
        let now = started();
        let merged = |order: &[(usize, u64)]| {
            let mut claims = Claims::new(CLAIMS[0].key());
            for (index, seconds) in order {
                claims.merge(now, live(*index, *seconds));
            }
            claims.providers(now)
        };
        prop_assert_eq!(merged(&first), merged(&second));
    }
}

#[test]
fn no_more_than_so_many_providers_are_heard_of_but_the_known_ones_to_the_end() {
    let now = started();
    let mut claims = Claims::new(CLAIMS[0].key());
    claims.merge(now, live(0, 60));
    let known = claims.by_provider.first_entry().unwrap().get().clone();
    for other in 1..MAX_PROVIDERS {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&other.to_be_bytes());
        claims
            .by_provider
            .insert(NodeId::from_bytes(id), known.clone());
    }
    let newcomer = LiveClaim {
        claim: record(PROVIDERS[1], SERVICE, 0),
        life: Duration::from_secs(60),
    };
    assert!(!claims.merge(now, newcomer));
    let withdrawn = LiveClaim {
        claim: withdrawal(PROVIDERS[0], 0),
        life: Duration::from_secs(60),
    };
    assert!(claims.merge(now, withdrawn));
    assert_eq!(claims.by_provider.len(), MAX_PROVIDERS);
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => claim().prop_map(|(index, seconds)| Operation::Merge(index, seconds)),
        1 => (1..40_u64).prop_map(Operation::Pass),
    ]
}

fn claims() -> impl Strategy<Value = Vec<(usize, u64)>> {
    prop::collection::vec(claim(), 1..30)
}

/// Which claim, and for how many seconds it counts.
fn claim() -> impl Strategy<Value = (usize, u64)> {
    (0..CLAIMS.len(), 0..60_u64)
}

fn live(index: usize, seconds: u64) -> LiveClaim {
    LiveClaim {
        claim: CLAIMS[index].clone(),
        life: Duration::from_secs(seconds),
    }
}

fn started() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn record(provider: u8, service: &str, seq: u64) -> Claim {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: service.parse().unwrap(),
        addresses: Addresses::default(),
        metadata: Metadata::new(),
        delivery: Delivery::AtLeastOnce,
        seq,
        issued_at: Timestamp::default(),
        ttl: Duration::from_secs(300),
        extensions: Extensions::default(),
    };
    let secret_key = SecretKey::from_bytes(&[provider; 32]);
    Claim::Record(ProviderRecord::sign(&secret_key, draft).unwrap())
}

fn withdrawal(provider: u8, seq: u64) -> Claim {
    let draft = WithdrawalDraft {
        realm: Realm::default(),
        service: SERVICE.parse().unwrap(),
        seq,
        until: Timestamp::from_unix_millis(300_000),
    };
    let secret_key = SecretKey::from_bytes(&[provider; 32]);
    Claim::Withdrawal(Withdrawal::sign(&secret_key, draft).unwrap())
}
