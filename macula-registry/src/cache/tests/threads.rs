//! The cache under real threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const NAMES: u32 = 40;

/// Operations of each thread.
const OPERATIONS: u64 = 20_000;

/// Threads that look at the same names at once.
const LOOKERS: usize = 8;

/// So many that some are looked at by two threads in the same instant.
const STALE_NAMES: u32 = 5_000;

/// Each provider lives to the same instant in all entries, so that a look can be judged.
fn life_secs(node: u8) -> u64 {
    u64::from(node + 1) * OPERATIONS / 5_000
}

fn write(cache: &Cache, now: Instant, since: Duration, rng: &mut StdRng) -> usize {
    let service = name(rng.random_range(0..NAMES));
    let node = rng.random_range(0..NODES);
    match rng.random_range(0..20) {
        0 => cache.prune(now),
        1 => cache.forget(&node_id(node)).len(),
        2..6 => usize::from(cache.remove_provider(&service, &node_id(node), SEQ)),
        6 => cache.insert(now, &service, Vec::new(), keep(1, 0)).expired,
        7 if rng.random_ratio(1, 20) => {
            cache.clear();
            0
        }
        _ => {
            let ends = (0..=node).map(|node| (provider(node), secs(life_secs(node))));
            let lives = ends.map(|(p, end)| (p, end.saturating_sub(since)));
            let keep = keep(rng.random_range(0..3), 60);
            cache.insert(now, &service, lives.collect(), keep).expired
        }
    }
}

/// Whether the look was a hit; nobody in it is served for too long.
fn judge(look: Look, since: Duration) -> bool {
    let (Look::Fresh(providers) | Look::Stale { providers, .. }) = look else {
        return false;
    };
    assert!(!providers.is_empty());
    for node in 0..NODES {
        let is_served = providers.iter().any(|p| p.node_id() == node_id(node));
        assert!(!is_served || since < secs(life_secs(node)));
    }
    true
}

#[test]
fn readers_and_writers_at_once_leave_the_cache_whole() {
    let (start, cache) = (Instant::now(), cache(50));
    let at = |step: u64| Duration::from_millis(step);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (reads, writes) = (&cache, &cache);
            scope.spawn(move || {
                let mut rng = StdRng::seed_from_u64(seed);
                let mut is_hit = |step| {
                    let service = name(rng.random_range(0..NAMES));
                    let look = reads.look(start + at(step), &service, None);
                    judge(look, at(step))
                };
                let hits = (0..OPERATIONS).filter(|step| is_hit(*step)).count();
                assert!(hits > 0);
            });
            scope.spawn(move || {
                let mut rng = StdRng::seed_from_u64(100 + seed);
                let write = |step| write(writes, start + at(step), at(step), &mut rng);
                let removed: usize = (0..OPERATIONS).map(write).sum();
                assert!(removed > 0);
            });
        }
    });
    cache.check_invariants();
    cache.prune(start + secs(3600));
    assert_eq!(cache.len(), 0);
    cache.check_invariants();
}

#[test]
fn entry_that_is_being_replaced_is_never_missed() {
    let (now, cache) = (Instant::now(), cache(50));
    let replace = |node| cache.insert(now, &name(0), found(&[(node, 600)]), keep(60, 240));
    replace(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for step in 0..OPERATIONS {
                replace(u8::try_from(step % 4).unwrap());
                // Others come and go, and the map grows and shrinks with them.
                let other = name(u32::try_from(1 + step).unwrap());
                cache.insert(now, &other, found(&[(1, 600)]), keep(60, 240));
                cache.remove_provider(&other, &node_id(1), SEQ);
            }
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            assert!(matches!(cache.look(now, &name(0), None), Look::Fresh(_)));
        }
    });
    cache.check_invariants();
}

/// How many of so many threads that go through all names together are told to refresh each.
fn told_to_refresh(cache: &Cache, now: Instant) -> Vec<usize> {
    let (barrier, names) = (Barrier::new(LOOKERS), (0..STALE_NAMES).map(name));
    let names: Vec<_> = names.collect();
    let is_told = |name| match cache.look(now, name, None) {
        Look::Stale { refresh_due, .. } => refresh_due,
        other => panic!("stale, not {other:?}"),
    };
    let look_at_all = || {
        barrier.wait();
        names.iter().map(is_told).collect::<Vec<_>>()
    };
    let told: Vec<_> = thread::scope(|scope| {
        let lookers: Vec<_> = (0..LOOKERS).map(|_| scope.spawn(look_at_all)).collect();
        lookers.into_iter().map(|l| l.join().unwrap()).collect()
    });
    let of_name = |index| told.iter().filter(|is_told| is_told[index]).count();
    (0..names.len()).map(of_name).collect()
}

#[test]
fn of_many_threads_that_look_at_a_stale_entry_one_refreshes() {
    let [once, never] = [1, 0].map(|count| vec![count; STALE_NAMES as usize]);
    let (start, cache) = (Instant::now(), cache(2 * STALE_NAMES as usize));
    for index in 0..STALE_NAMES {
        // The first of the two expires while the entry is stale.
        let both = found(&[(0, 20), (1, 600)]);
        cache.insert(start, &name(index), both, keep(10, 240));
    }
    assert_eq!(told_to_refresh(&cache, start + secs(10)), once);
    assert_eq!(told_to_refresh(&cache, start + secs(10)), never);
    let overgrown_at = start + secs(20);
    {
        let _writer = cache.write();
        assert_eq!(told_to_refresh(&cache, overgrown_at), once);
    }
    // Now they are trimmed, and who was told before has still to see to it.
    assert_eq!(told_to_refresh(&cache, overgrown_at), never);
    cache.check_invariants();
}
