use std::collections::BTreeMap;
use std::sync::LazyLock;

use macula_core::{
    Addresses, Delivery, Extensions, Metadata, Realm, RecordDraft, SecretKey, WithdrawalDraft,
};
use proptest::prelude::{Strategy, prop_oneof, proptest};

use super::*;

const SERVICES: [&str; 2] = ["a.service", "another.service"];
const PROVIDERS: [u8; 3] = [1, 2, 3];
const SEQS: u64 = 4;
const MEMORY: Duration = Duration::from_secs(100_000);

#[derive(Debug, Clone, Copy)]
enum Operation {
    /// Puts one of [`CLAIMS`], which counts for so many seconds if it is a record.
    Put(usize, u64),
    /// Lets so many seconds pass.
    Pass(u64),
}

/// Every claim the operations can put.
static CLAIMS: LazyLock<Vec<Claim>> = LazyLock::new(|| {
    let mut claims = Vec::new();
    for (service, provider) in SERVICES.iter().flat_map(|s| PROVIDERS.map(|p| (s, p))) {
        let secret_key = SecretKey::from_bytes(&[provider; 32]);
        for seq in 0..SEQS {
            claims.push(Claim::Record(record(&secret_key, service, seq)));
            claims.push(Claim::Withdrawal(withdrawal(&secret_key, service, seq)));
        }
    }
    claims
});

/// All that was ever put, and nothing clever.
#[derive(Default)]
struct Oracle {
    put: Vec<(Claim, Duration, Duration)>,
}

impl Oracle {
    fn put(&mut self, at: Duration, claim: &Claim, life: Duration) {
        if self.put.iter().all(|(known, ..)| known != claim) {
            self.put.push((claim.clone(), at, life));
        }
    }

    fn providers(&self, now: Duration, key: &Key) -> BTreeMap<NodeId, (u64, Duration)> {
        let mut newest = BTreeMap::new();
        for (claim, at, life) in self.put.iter().filter(|(claim, ..)| claim.key() == *key) {
            let best = newest.entry(claim.provider()).or_insert((claim, at, life));
            if claim.precedence() > best.0.precedence() {
                *best = (claim, at, life);
            }
        }
        let live = newest
            .into_iter()
            .filter_map(|(provider, (claim, at, life))| {
                let Claim::Record(record) = claim else {
                    return None;
                };
                let left = (*at + *life).checked_sub(now)?;
                (!left.is_zero()).then_some((provider, (record.seq(), left)))
            });
        live.collect()
    }
}

proptest! {
    #[test]
    fn claims_equal_the_oracle(operations in proptest::collection::vec(operation(), 1..80)) {
        let mut claims = Claims::new(MemoryDhtConfig::default());
        let mut oracle = Oracle::default();
        let started = tokio::time::Instant::now().into_std();
        let mut passed = Duration::ZERO;
        for operation in operations {
            match operation {
                Operation::Pass(seconds) => passed += Duration::from_secs(seconds),
                Operation::Put(index, life) => {
                    let (claim, life) = (&CLAIMS[index], Duration::from_secs(life));
                    claims.put(started + passed, held(claim, started + passed, life));
                    oracle.put(passed, claim, life);
                }
            }
            claims.check_invariants();
            for claim in CLAIMS.iter() {
                let key = claim.key();
                let seen: BTreeMap<_, _> = claims
                    .providers(started + passed, &key)
                    .map(|(record, life)| (record.provider(), (record.seq(), life)))
                    .collect();
                assert_eq!(seen, oracle.providers(passed, &key));
            }
        }
    }

    #[test]
    fn bounds_hold_whatever_is_put(operations in proptest::collection::vec(operation(), 1..80)) {
        let mut claims = Claims::new(MemoryDhtConfig {
            max_providers_per_key: 2,
            max_records: 3,
            max_remembered: 2,
        });
        let mut now = tokio::time::Instant::now().into_std();
        for operation in operations {
            match operation {
                Operation::Pass(seconds) => now += Duration::from_secs(seconds),
                Operation::Put(index, life) => {
                    let claim = &CLAIMS[index];
                    claims.put(now, held(claim, now, Duration::from_secs(life)));
                    assert!(claims.providers(now, &claim.key()).count() <= 2);
                }
            }
            claims.check_invariants();
        }
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let claims = SERVICES.len() * PROVIDERS.len() * SEQS as usize * 2;
    prop_oneof![
        4 => (0..claims, 1..60u64).prop_map(|(index, life)| Operation::Put(index, life)),
        1 => (1..40u64).prop_map(Operation::Pass),
    ]
}

fn held(claim: &Claim, now: Instant, life: Duration) -> Held {
    match claim {
        Claim::Record(record) => Held::record(record, now, life, MEMORY),
        Claim::Withdrawal(withdrawal) => Held::withdrawal(withdrawal, now, MEMORY),
    }
}

fn record(secret_key: &SecretKey, service: &str, seq: u64) -> ProviderRecord {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: service.parse().unwrap(),
        addresses: Addresses::default(),
        metadata: Metadata::new(),
        delivery: Delivery::AtLeastOnce,
        seq,
        issued_at: Timestamp::from_unix_millis(0),
        ttl: Duration::from_secs(60),
        extensions: Extensions::default(),
    };
    ProviderRecord::sign(secret_key, draft).unwrap()
}

fn withdrawal(secret_key: &SecretKey, service: &str, seq: u64) -> Withdrawal {
    let draft = WithdrawalDraft {
        realm: Realm::default(),
        service: service.parse().unwrap(),
        seq,
        until: Timestamp::from_unix_millis(60_000),
    };
    Withdrawal::sign(secret_key, draft).unwrap()
}
