//! The cache against a naive oracle.

use std::collections::BTreeMap;
use std::sync::Arc;

use macula_core::{
    Addresses, Delivery, Extensions, MIN_TTL, Metadata, Provider, ProviderRecord, Realm,
    RecordDraft, SecretKey, Timestamp,
};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Operation {
    Insert {
        name: u8,
        lives_secs: Vec<u64>,
        fresh_secs: u64,
        stale_secs: u64,
    },
    Look {
        name: u8,
        max_age_secs: Option<u64>,
    },
    RemoveProvider {
        name: u8,
        node: u8,
    },
    DeferRefresh {
        name: u8,
        secs: u64,
    },
    Advance {
        secs: u64,
    },
    Prune,
    Clear,
}

fn operation(names: u8) -> impl Strategy<Value = Operation> {
    let name = 0..names;
    prop_oneof![
        4 => (
            name.clone(),
            prop::collection::vec(0u64..12, 0..4),
            0u64..8,
            0u64..8,
        ).prop_map(|(name, lives_secs, fresh_secs, stale_secs)| Operation::Insert {
            name, lives_secs, fresh_secs, stale_secs,
        }),
        6 => (name.clone(), prop::option::of(0u64..8))
            .prop_map(|(name, max_age_secs)| Operation::Look { name, max_age_secs }),
        2 => (name.clone(), 0u8..4)
            .prop_map(|(name, node)| Operation::RemoveProvider { name, node }),
        1 => (name, 0u64..5).prop_map(|(name, secs)| Operation::DeferRefresh { name, secs }),
        4 => (0u64..5).prop_map(|secs| Operation::Advance { secs }),
        1 => Just(Operation::Prune),
        1 => Just(Operation::Clear),
    ]
}

/// Remembers every answer for ever and works each look out anew.
#[derive(Default)]
struct Oracle(BTreeMap<u8, Answer>);

struct Answer {
    providers: Vec<(Provider, Instant)>,
    is_absence: bool,
    stored_at: Instant,
    fresh_until: Instant,
    stale_end: Instant,
    refresh_from: Instant,
}

impl Oracle {
    fn look(&self, now: Instant, name: u8, max_age: Option<Duration>) -> Look {
        let Some(answer) = self.0.get(&name) else {
            return Look::Miss;
        };
        let too_old = max_age.is_some_and(|max_age| now - answer.stored_at >= max_age);
        if answer.is_absence {
            let counts = now < answer.fresh_until && !too_old;
            return if counts { Look::Absent } else { Look::Miss };
        }
        let alive = answer.providers.iter().filter(|(_, expiry)| now < *expiry);
        let providers: Arc<[Provider]> = alive.map(|(provider, _)| provider.clone()).collect();
        if providers.is_empty() || now >= answer.stale_end {
            return Look::Miss;
        }
        if now < answer.fresh_until && !too_old {
            return Look::Fresh(providers);
        }
        Look::Stale {
            providers,
            refresh_due: answer.refresh_from <= now,
        }
    }

    fn insert(&mut self, now: Instant, name: u8, found: &Discovered, keep: Keep) {
        let fresh_end = now + keep.fresh;
        let alive = found.iter().filter(|(_, life)| !life.is_zero());
        let providers: Vec<_> = alive.map(|(p, life)| (p.clone(), now + *life)).collect();
        let first_expiry = providers.iter().map(|(_, expiry)| *expiry).min();
        let answer = Answer {
            is_absence: found.is_empty(),
            stored_at: now,
            fresh_until: first_expiry.unwrap_or(fresh_end).min(fresh_end),
            stale_end: fresh_end + keep.stale,
            refresh_from: now,
            providers,
        };
        self.0.insert(name, answer);
    }

    fn remove_provider(&mut self, name: u8, node: NodeId) {
        if let Some(answer) = self.0.get_mut(&name) {
            answer.providers.retain(|(p, _)| p.node_id() != node);
        }
    }
}

fn name(index: u8) -> ServiceName {
    format!("test.service_{index}").parse().unwrap()
}

fn provider(node: u8) -> Provider {
    let secret_key = SecretKey::from_bytes(&[node; 32]);
    let draft = RecordDraft {
        realm: Realm::default(),
        service: name(0),
        addresses: Addresses::default(),
        metadata: Metadata::default(),
        delivery: Delivery::default(),
        seq: 1,
        issued_at: Timestamp::default(),
        ttl: MIN_TTL,
        extensions: Extensions::default(),
    };
    ProviderRecord::sign(&secret_key, draft).unwrap().into()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Looks as the cache does: trims when told to.
fn look(shard: &mut Shard, now: Instant, index: u8, max_age: Option<Duration>) -> Look {
    let name = name(index);
    if let Some(look) = shard.look(now, &name, max_age) {
        return look;
    }
    shard.trim(now, &name);
    shard.look(now, &name, max_age).unwrap_or(Look::Miss)
}

struct Run {
    providers: Vec<Provider>,
    shard: Shard,
    oracle: Oracle,
    now: Instant,
    evicted: usize,
}

impl Run {
    fn new(capacity: usize) -> Self {
        Self {
            providers: (0..4).map(provider).collect(),
            shard: Shard::new(capacity),
            oracle: Oracle::default(),
            now: Instant::now(),
            evicted: 0,
        }
    }

    /// Carries an operation out on both; answers what both say to a look.
    fn step(&mut self, operation: &Operation) -> Option<(Look, Look)> {
        let now = self.now;
        match operation {
            Operation::Insert {
                name: index,
                lives_secs,
                fresh_secs,
                stale_secs,
            } => {
                let lives = lives_secs.iter().map(|life| secs(*life));
                let found: Discovered = self.providers.iter().cloned().zip(lives).collect();
                let keep = Keep {
                    fresh: secs(*fresh_secs),
                    stale: secs(*stale_secs),
                };
                self.oracle.insert(now, *index, &found, keep);
                self.evicted += self.shard.insert(now, &name(*index), found, keep);
            }
            Operation::Look {
                name: index,
                max_age_secs,
            } => {
                let max_age = max_age_secs.map(secs);
                let expected = self.oracle.look(now, *index, max_age);
                return Some((look(&mut self.shard, now, *index, max_age), expected));
            }
            Operation::RemoveProvider { name: index, node } => {
                let node_id = self.providers[usize::from(*node)].node_id();
                self.oracle.remove_provider(*index, node_id);
                self.shard.remove_provider(&name(*index), &node_id);
            }
            Operation::DeferRefresh {
                name: index,
                secs: s,
            } => {
                let until = now + secs(*s);
                self.shard.defer_refresh(&name(*index), until);
                if let Some(answer) = self.oracle.0.get_mut(index) {
                    answer.refresh_from = until;
                }
            }
            Operation::Advance { secs: s } => self.now += secs(*s),
            Operation::Prune => {
                self.shard.prune(now);
            }
            Operation::Clear => {
                self.shard.clear();
                self.oracle.0.clear();
            }
        }
        None
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn cache_with_room_answers_like_one_that_forgets_nothing(
        operations in prop::collection::vec(operation(2), 1..80),
    ) {
        let mut run = Run::new(1000);
        for operation in &operations {
            if let Some((answer, expected)) = run.step(operation) {
                prop_assert_eq!(answer, expected);
            }
            run.shard.check_invariants();
            prop_assert_eq!(run.evicted, 0);
        }
    }

    #[test]
    fn full_cache_stays_within_its_capacity_and_only_forgets(
        operations in prop::collection::vec(operation(20), 1..120),
        capacity in 4usize..12,
    ) {
        let mut run = Run::new(capacity);
        for operation in &operations {
            if let Some((answer, expected)) = run.step(operation) {
                prop_assert!(answer == expected || (answer == Look::Miss && run.evicted > 0));
            }
            run.shard.check_invariants();
        }
    }
}

#[test]
fn entry_that_is_looked_at_outlives_those_that_are_not() {
    let now = Instant::now();
    let mut shard = Shard::new(3);
    let keep = Keep {
        fresh: secs(60),
        stale: secs(0),
    };
    for index in 0..100 {
        shard.insert(now, &name(index), vec![(provider(1), secs(60))], keep);
        assert!(matches!(look(&mut shard, now, 0, None), Look::Fresh(_)));
    }
    assert_eq!(shard.len(), 3);
}

#[test]
fn prune_counts_what_it_removes_and_leaves_the_rest() {
    let now = Instant::now();
    let mut shard = Shard::new(10);
    for (index, fresh) in [(0, 5), (1, 5), (2, 50)] {
        let keep = Keep {
            fresh: secs(fresh),
            stale: secs(0),
        };
        shard.insert(now, &name(index), vec![(provider(1), secs(100))], keep);
    }
    assert_eq!(shard.prune(now + secs(5)), 2);
    assert_eq!(shard.len(), 1);
    shard.check_invariants();
}
