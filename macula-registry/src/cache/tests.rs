//! The cache from inside: against an oracle, under threads, and in bounded memory.

use std::sync::LazyLock;

use macula_core::{
    Addresses, Delivery, Extensions, MIN_TTL, Metadata, ProviderRecord, Realm, RecordDraft,
    SecretKey, Timestamp,
};

use super::*;

mod oracle;
mod threads;

const NODES: u8 = 4;

/// The number of every provider's record.
const SEQ: u64 = 7;

static PROVIDERS: LazyLock<Vec<Provider>> = LazyLock::new(|| (0..NODES).map(signed).collect());

fn signed(node: u8) -> Provider {
    let secret_key = SecretKey::from_bytes(&[node; 32]);
    let draft = RecordDraft {
        realm: Realm::default(),
        service: name(0),
        addresses: Addresses::default(),
        metadata: Metadata::default(),
        delivery: Delivery::default(),
        seq: SEQ,
        issued_at: Timestamp::default(),
        ttl: MIN_TTL,
        extensions: Extensions::default(),
    };
    ProviderRecord::sign(&secret_key, draft).unwrap().into()
}

fn provider(node: u8) -> Provider {
    PROVIDERS[usize::from(node)].clone()
}

fn node_id(node: u8) -> NodeId {
    PROVIDERS[usize::from(node)].node_id()
}

fn name(index: u32) -> ServiceName {
    format!("test.service_{index}").parse().unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn keep(fresh_secs: u64, stale_secs: u64) -> Keep {
    Keep {
        fresh: secs(fresh_secs),
        stale: secs(stale_secs),
    }
}

fn found(lives_secs: &[(u8, u64)]) -> Discovered {
    let life = |(node, life)| (provider(node), secs(life));
    lives_secs.iter().copied().map(life).collect()
}

fn cache(capacity: usize) -> Cache {
    Cache::new(NonZeroUsize::new(capacity).unwrap(), Events::new())
}

impl Cache {
    fn check_invariants(&self) {
        let (entries, ring) = (self.entries.pin(), self.ring.lock().unwrap());
        assert_eq!(entries.len(), ring.slots.len());
        let mut weight = 0;
        for (slot, name) in ring.slots.iter().enumerate() {
            let entry = entries.get(name).expect("an entry for each name");
            assert_eq!(entry.slot(), slot);
            weight += entry.weight();
            entry.check_invariants();
        }
        assert_eq!(weight, ring.weight);
        assert!(weight <= ring.capacity);
    }
}

#[test]
fn entry_that_is_looked_at_outlives_those_that_are_not() {
    let (now, cache) = (Instant::now(), cache(3));
    for index in 0..100 {
        cache.insert(now, &name(index), found(&[(1, 60)]), keep(60, 0));
        assert!(matches!(cache.look(now, &name(0), None), Look::Fresh(_)));
    }
    assert_eq!(cache.len(), 3);
}

#[test]
fn absence_makes_room_like_everything_else() {
    let (now, cache) = (Instant::now(), cache(3));
    for index in 0..10 {
        cache.insert(now, &name(index), Vec::new(), keep(1, 0));
    }
    assert_eq!(cache.len(), 3);
    for index in 10..13 {
        cache.insert(now, &name(index), found(&[(1, 60)]), keep(60, 0));
    }
    assert!((0..10).all(|index| cache.look(now, &name(index), None) == Look::Miss));
}

/// Whoever looks may have read the clock before the answer came.
#[test]
fn answer_from_the_future_is_what_it_is() {
    let (now, cache) = (Instant::now(), cache(10));
    cache.insert(now + secs(1), &name(0), Vec::new(), keep(1, 0));
    cache.insert(now + secs(1), &name(1), found(&[(1, 60)]), keep(60, 0));
    assert_eq!(cache.look(now, &name(0), None), Look::Absent);
    assert!(matches!(cache.look(now, &name(1), None), Look::Fresh(_)));
}

#[test]
fn what_has_expired_makes_room_before_what_has_not() {
    let (now, cache) = (Instant::now(), cache(3));
    for (index, fresh) in [(0, 50), (1, 5), (2, 50)] {
        cache.insert(now, &name(index), found(&[(1, 100)]), keep(fresh, 0));
        cache.look(now, &name(index), None);
    }
    let removed = cache.insert(now + secs(5), &name(3), found(&[(1, 100)]), keep(50, 0));
    let (evicted, expired) = (0, 1);
    assert_eq!(removed, Removed { evicted, expired });
    cache.check_invariants();
}

#[test]
fn prune_counts_what_it_removes_and_leaves_the_rest() {
    let (now, cache) = (Instant::now(), cache(10));
    for (index, fresh) in [(0, 5), (1, 5), (2, 50)] {
        cache.insert(now, &name(index), found(&[(1, 100)]), keep(fresh, 0));
    }
    assert_eq!(cache.prune(now + secs(5)), 2);
    assert_eq!(cache.len(), 1);
    cache.check_invariants();
}

#[test]
fn newer_record_outlives_the_removal_of_an_older_one() {
    let (now, cache) = (Instant::now(), cache(10));
    cache.insert(now, &name(0), found(&[(1, 60)]), keep(60, 0));
    assert_eq!(cache.seq_of(&name(0), &node_id(1)), Some(SEQ));
    assert!(!cache.remove_provider(&name(0), &node_id(1), SEQ - 1));
    assert!(cache.remove_provider(&name(0), &node_id(1), SEQ));
    assert_eq!(
        (cache.seq_of(&name(0), &node_id(1)), cache.len()),
        (None, 0)
    );
}

#[test]
fn refresh_is_due_for_one_of_those_who_look() {
    let (now, cache) = (Instant::now(), cache(10));
    cache.insert(now, &name(0), found(&[(1, 600)]), keep(60, 240));
    let is_due = |after: u64| match cache.look(now + secs(after), &name(0), None) {
        Look::Stale { refresh_due, .. } => refresh_due,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [60, 60, 60, 61, 61].map(is_due),
        [true, false, false, true, false]
    );
}

#[test]
fn every_failed_refresh_doubles_the_pause_up_to_the_longest() {
    let (now, cache) = (Instant::now(), cache(10));
    cache.insert(now, &name(0), found(&[(1, 6000)]), keep(60, 2400));
    let mut at = now + secs(60);
    for pause in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        cache.defer_refresh(at, &name(0), secs(60));
        for (after, is_due) in [(secs(pause) - secs(1) / 2, false), (secs(pause), true)] {
            let look = cache.look(at + after, &name(0), None);
            assert!(
                matches!(look, Look::Stale { refresh_due, .. } if refresh_due == is_due),
                "{pause} {look:?}"
            );
        }
        at += secs(pause);
    }
}

/// Whoever changes the cache may do so for as long as it takes: the lock is held here, and a look
/// that waited for it would never return.
#[test]
fn look_waits_for_nobody_who_changes_the_cache() {
    let (now, cache) = (Instant::now(), cache(10));
    cache.insert(now, &name(0), found(&[(1, 600), (2, 30)]), keep(60, 240));
    let held = cache.ring.lock().unwrap();
    let seen = |after: u64| match cache.look(now + secs(after), &name(0), None) {
        Look::Fresh(providers) => ("fresh", providers.len()),
        Look::Stale { providers, .. } => ("stale", providers.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(seen(29), ("fresh", 2));
    // Nobody can trim the entry now, and yet nothing is served that has expired.
    assert_eq!(seen(30), ("fresh", 1));
    assert_eq!(seen(60), ("stale", 1));
    assert_eq!(cache.look(now, &name(1), None), Look::Miss);
    cache.defer_refresh(now, &name(0), secs(60));
    drop(held);
    assert_eq!(seen(59), ("fresh", 1));
    assert_eq!(cache.entries.pin().get(&name(0)).unwrap().weight(), 1);
}

#[test]
fn million_names_leave_no_more_than_fit() {
    const CAPACITY: usize = 1024;
    let (now, cache) = (Instant::now(), cache(CAPACITY));
    let fill = |from: u32, to: u32| {
        allocation_counter::measure(|| {
            for index in from..to {
                cache.insert(now, &name(index), Vec::new(), keep(3600, 0));
            }
        })
    };
    let first = fill(0, 10_000);
    let rest = fill(10_000, 1_000_000);
    assert_eq!(cache.len(), CAPACITY);
    cache.check_invariants();
    // What ten thousand names take is all that a million ever do.
    assert!(first.bytes_max < 1024 * CAPACITY as u64, "{first:?}");
    assert!(rest.bytes_max < first.bytes_max, "{first:?} {rest:?}");
}
