//! Sequence numbers over restarts: they never go back, whatever clock and disk do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use macula_core::{SEQUENCE_RESERVE, SequenceStore, sequence_reservation};
use macula_dht::MemoryDht;
use macula_registry::{Identity, Registry, RegistryConfig};

use crate::node::{Node, TestClock, address, identity, pass};
use crate::scripted::{Script, ScriptedDht};

/// A disk in memory, which outlives the runs.
#[derive(Default)]
struct Disk {
    number: AtomicU64,
    writes: AtomicUsize,
    is_broken: AtomicBool,
}

/// What one run knows of it.
struct Store {
    disk: Arc<Disk>,
    first: u64,
    reserved: AtomicU64,
}

impl Store {
    fn open(disk: &Arc<Disk>, clock: &TestClock) -> Arc<Self> {
        let first = disk.number.load(Ordering::Relaxed);
        let now = clock.wall_clock()();
        let store = Self {
            disk: Arc::clone(disk),
            first,
            reserved: AtomicU64::new(first),
        };
        store.reserve(sequence_reservation(now, first)).unwrap();
        Arc::new(store)
    }
}

impl SequenceStore for Store {
    fn first(&self) -> u64 {
        self.first
    }

    fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    fn reserve(&self, end: u64) -> io::Result<()> {
        if self.disk.is_broken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.writes.fetch_add(1, Ordering::Relaxed);
        self.disk.number.store(end, Ordering::Relaxed);
        self.reserved.store(end, Ordering::Relaxed);
        Ok(())
    }
}

const HOUR: u64 = 3600;

fn node(dht: Arc<dyn macula_dht::Dht>, clock: &TestClock, store: Arc<Store>) -> Node {
    let identity = Identity {
        sequences: store,
        ..identity(1, clock, || address(1))
    };
    let node_id = identity.node_id();
    let registry = Registry::new(identity, dht, RegistryConfig::default()).unwrap();
    Node {
        registry,
        node_id,
        clock: clock.clone(),
    }
}

fn seqs(dht: &ScriptedDht) -> Vec<u64> {
    dht.announces().iter().map(|(_, r)| r.seq()).collect()
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_with_the_clock_set_back_records_beat_those_of_before() {
    let dht = ScriptedDht::new(Script::default());
    let (disk, clock) = (Arc::new(Disk::default()), TestClock::new());
    for jump in [0, -3_600_000, -86_400_000, 1000] {
        clock.jump(jump);
        let run = node(dht.clone(), &clock, Store::open(&disk, &clock));
        let _kept = run.advertise("app.echo").await;
        pass(1000).await;
        assert!(run.unadvertise("app.echo").await);
        let _again = run.advertise("app.echo").await;
        // The run ends without withdrawing, as in a crash.
    }
    let seqs = seqs(&dht);
    assert!(seqs.len() > 4 * 5);
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    let withdrawals = dht.withdrawals();
    let withdrawals = withdrawals.iter().map(|(_, batch)| &batch[0]);
    let (_, last) = dht.announces().pop().unwrap();
    for withdrawal in withdrawals {
        assert!(last.precedence() > withdrawal.precedence());
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_withdrawn_in_an_earlier_run_is_found_again_after_the_clock_was_set_back() {
    let clock = TestClock::new();
    let dht = MemoryDht::new(clock.wall_clock());
    let disk = Arc::new(Disk::default());
    let caller = Node::with(2, dht.clone(), clock.clone(), RegistryConfig::default());
    let first = node(dht.clone(), &clock, Store::open(&disk, &clock));
    let _kept = first.advertise("app.echo").await;
    assert!(first.unadvertise("app.echo").await);
    drop(first);
    clock.jump(-240_000);
    let second = node(dht, &clock, Store::open(&disk, &clock));
    let _kept = second.advertise("app.echo").await;
    assert!(caller.resolve_anew("app.echo").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn numbers_are_reserved_before_they_are_used_and_seldom() {
    let dht = ScriptedDht::new(Script::default());
    let (disk, clock) = (Arc::new(Disk::default()), TestClock::new());
    let run = node(dht.clone(), &clock, Store::open(&disk, &clock));
    let _kept = run.advertise("app.echo").await;
    let mut seen = 0;
    for _ in 0..24 * 60 {
        pass(60).await;
        let seqs = seqs(&dht);
        let reserved = disk.number.load(Ordering::Relaxed);
        assert!(seqs.iter().skip(seen).all(|seq| *seq < reserved));
        seen = seqs.len();
    }
    let writes = disk.writes.load(Ordering::Relaxed);
    assert!((20..=25).contains(&writes), "{writes} in a day");
    // A clock that jumps ahead is followed only as far as numbers are reserved.
    clock.jump(86_400_000);
    let reserved = disk.number.load(Ordering::Relaxed);
    pass(230).await;
    let seq = *seqs(&dht).iter().skip(seen).min().unwrap();
    assert!(seq < reserved);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_holds_no_refresh_up_and_no_number_is_used_that_is_not_reserved() {
    let dht = ScriptedDht::new(Script::default());
    let (disk, clock) = (Arc::new(Disk::default()), TestClock::new());
    let run = node(dht.clone(), &clock, Store::open(&disk, &clock));
    let _kept = run.advertise("app.echo").await;
    disk.is_broken.store(true, Ordering::Relaxed);
    let reserved = disk.number.load(Ordering::Relaxed);
    pass(24 * HOUR).await;
    let failing = seqs(&dht);
    assert!(failing.len() >= 24 * 15);
    assert!(failing.iter().all(|seq| *seq < reserved));
    assert!(failing.is_sorted_by(|a, b| a < b));
    assert!(run.registry.stats().publish.unsaved_sequences >= 24);
    disk.is_broken.store(false, Ordering::Relaxed);
    pass(HOUR).await;
    assert!(*seqs(&dht).last().unwrap() > reserved);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_reserved_and_used_nothing_leaves_only_a_gap() {
    let dht = ScriptedDht::new(Script::default());
    let (disk, clock) = (Arc::new(Disk::default()), TestClock::new());
    let run = node(dht.clone(), &clock, Store::open(&disk, &clock));
    let _kept = run.advertise("app.echo").await;
    drop(run);
    for _ in 0..3 {
        drop(Store::open(&disk, &clock));
    }
    let run = node(dht.clone(), &clock, Store::open(&disk, &clock));
    let _kept = run.advertise("app.echo").await;
    let seqs = seqs(&dht);
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_crashes_every_minute_does_not_run_away_from_the_clock() {
    let dht = ScriptedDht::new(Script::default());
    let (disk, clock) = (Arc::new(Disk::default()), TestClock::new());
    for _ in 0..200 {
        let run = node(dht.clone(), &clock, Store::open(&disk, &clock));
        let _kept = run.advertise("app.echo").await;
        pass(60).await;
    }
    let seqs = seqs(&dht);
    assert!(seqs.is_sorted_by(|a, b| a < b));
    let now = clock.wall_clock()().unix_millis();
    let reserve = u64::try_from(SEQUENCE_RESERVE.as_millis()).unwrap();
    assert!(disk.number.load(Ordering::Relaxed) <= now + reserve + 60_000);
}
