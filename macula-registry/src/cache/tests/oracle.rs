//! The cache against a naive oracle.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tokio::sync::broadcast;

use super::*;
use crate::RegistryEvent;
use crate::cache::entry::REFRESH_PAUSE;

#[derive(Debug, Clone)]
enum Operation {
    Insert {
        name: u32,
        lives_secs: Vec<(u8, u64)>,
        keep: (u64, u64),
    },
    Look {
        name: u32,
        max_age_secs: Option<u64>,
    },
    RemoveProvider {
        name: u32,
        node: u8,
    },
    Forget {
        node: u8,
    },
    DeferRefresh {
        name: u32,
    },
    Advance {
        secs: u64,
    },
    Prune,
    Clear,
}

fn operation(names: u32) -> impl Strategy<Value = Operation> {
    let name = 0..names;
    let lives = prop::collection::btree_map(0..NODES, 0u64..12, 0..4);
    prop_oneof![
        4 => (name.clone(), lives, (0u64..8, 0u64..8)).prop_map(|(name, lives, keep)| {
            let lives_secs = lives.into_iter().collect();
            Operation::Insert { name, lives_secs, keep }
        }),
        6 => (name.clone(), prop::option::of(0u64..8))
            .prop_map(|(name, max_age_secs)| Operation::Look { name, max_age_secs }),
        2 => (name.clone(), 0..NODES)
            .prop_map(|(name, node)| Operation::RemoveProvider { name, node }),
        1 => (0..NODES).prop_map(|node| Operation::Forget { node }),
        1 => name.prop_map(|name| Operation::DeferRefresh { name }),
        4 => (0u64..5).prop_map(|secs| Operation::Advance { secs }),
        1 => Just(Operation::Prune),
        1 => Just(Operation::Clear),
    ]
}

/// Remembers every answer for ever and works each look out anew.
#[derive(Default)]
struct Oracle(BTreeMap<u32, Answer>);

struct Answer {
    providers: Vec<(Provider, Instant)>,
    is_absence: bool,
    stored_at: Instant,
    fresh_end: Instant,
    stale_end: Instant,
    refresh_from: Instant,
    failures: u32,
}

impl Oracle {
    fn look(&mut self, now: Instant, name: u32, max_age: Option<Duration>) -> Look {
        let Some(answer) = self.0.get_mut(&name) else {
            return Look::Miss;
        };
        let is_old = max_age.is_some_and(|max_age| now - answer.stored_at >= max_age);
        let is_fresh = now < answer.fresh_end && !is_old;
        if answer.is_absence {
            return if is_fresh { Look::Absent } else { Look::Miss };
        }
        let alive = answer.providers.iter().filter(|(_, expiry)| now < *expiry);
        let providers: Arc<[Provider]> = alive.map(|(provider, _)| provider.clone()).collect();
        if providers.is_empty() || now >= answer.stale_end {
            return Look::Miss;
        }
        if is_fresh {
            return Look::Fresh(providers);
        }
        let refresh_due = answer.refresh_from <= now;
        if refresh_due {
            answer.refresh_from = now + REFRESH_PAUSE;
        }
        Look::Stale {
            providers,
            refresh_due,
        }
    }

    fn insert(&mut self, now: Instant, name: u32, found: &Discovered, keep: Keep) {
        let alive = found.iter().filter(|(_, life)| !life.is_zero());
        let answer = Answer {
            is_absence: found.is_empty(),
            stored_at: now,
            fresh_end: now + keep.fresh,
            stale_end: now + keep.fresh + keep.stale,
            refresh_from: now,
            failures: 0,
            providers: alive.map(|(p, life)| (p.clone(), now + *life)).collect(),
        };
        self.0.insert(name, answer);
    }

    fn defer_refresh(&mut self, now: Instant, name: u32) {
        if let Some(answer) = self.0.get_mut(&name) {
            let pause = REFRESH_PAUSE * 2_u32.pow(answer.failures.min(10));
            answer.refresh_from = now + pause.min(LONGEST_PAUSE);
            answer.failures += 1;
        }
    }

    fn forget(&mut self, node: u8, is_meant: impl Fn(u32) -> bool) {
        for (_, answer) in self.0.iter_mut().filter(|(name, _)| is_meant(**name)) {
            answer
                .providers
                .retain(|(p, _)| p.node_id() != node_id(node));
        }
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(3);

struct Run {
    cache: Cache,
    oracle: Oracle,
    events: broadcast::Receiver<RegistryEvent>,
    /// Who provides what, according to the events.
    told: BTreeMap<ServiceName, BTreeSet<NodeId>>,
    now: Instant,
    evicted: usize,
}

impl Run {
    fn new(capacity: usize) -> Self {
        let cache = cache(capacity);
        Self {
            events: cache.events.subscribe(),
            cache,
            oracle: Oracle::default(),
            told: BTreeMap::new(),
            now: Instant::now(),
            evicted: 0,
        }
    }

    /// Carries an operation out on both; answers what both say to a look.
    fn step(&mut self, operation: &Operation) -> Option<(Look, Look)> {
        let (now, cache) = (self.now, &self.cache);
        match operation {
            Operation::Insert {
                name: index,
                lives_secs,
                keep: (fresh, stale),
            } => {
                let (found, keep) = (found(lives_secs), keep(*fresh, *stale));
                self.oracle.insert(now, *index, &found, keep);
                self.evicted += cache.insert(now, &name(*index), found, keep).evicted;
            }
            Operation::Look {
                name: index,
                max_age_secs,
            } => {
                let max_age = max_age_secs.map(secs);
                let expected = self.oracle.look(now, *index, max_age);
                return Some((cache.look(now, &name(*index), max_age), expected));
            }
            Operation::RemoveProvider { name: index, node } => {
                self.oracle.forget(*node, |other| other == *index);
                cache.remove_provider(&name(*index), &node_id(*node), SEQ);
            }
            Operation::Forget { node } => {
                self.oracle.forget(*node, |_| true);
                cache.forget(&node_id(*node));
            }
            Operation::DeferRefresh { name: index } => {
                self.oracle.defer_refresh(now, *index);
                cache.defer_refresh(now, &name(*index), LONGEST_PAUSE);
            }
            Operation::Advance { secs: passed } => self.now += secs(*passed),
            Operation::Prune => {
                cache.prune(now);
            }
            Operation::Clear => {
                cache.clear();
                self.oracle.0.clear();
                self.told.clear();
            }
        }
        None
    }

    /// Believes the events, each of which has to be news.
    fn hear(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            let is_news = match event {
                RegistryEvent::ProviderAppeared { service, provider } => {
                    self.told.entry(service).or_default().insert(provider)
                }
                RegistryEvent::ProviderLeft { service, provider } => {
                    self.told.entry(service).or_default().remove(&provider)
                }
                other => panic!("{other:?}"),
            };
            assert!(is_news);
        }
    }

    fn check_told(&self) {
        let entries = self.cache.entries.pin();
        for (name, told) in &self.told {
            let providers = entries.get(name).map_or(&[][..], Entry::providers);
            let cached: BTreeSet<_> = providers.iter().map(Provider::node_id).collect();
            assert_eq!(cached, *told);
        }
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
            run.cache.check_invariants();
            run.hear();
            run.check_told();
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
            run.cache.check_invariants();
        }
    }
}
