use std::collections::BTreeMap;

use macula_core::{Key, Realm};
use macula_dht::message::MAX_CLAIMS;
use proptest::prelude::*;

use super::*;

const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
const TTL: Duration = Duration::from_secs(300);
const INTERVAL: Duration = Duration::from_secs(240);

fn position(index: u64) -> Position {
    let name = format!("app.service_{index}").parse().unwrap();
    Position {
        key: Key::of_service(&Realm::default(), &name),
        generation: index,
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What was published together, and when.
type Published = (Instant, Vec<Position>);

/// Runs the timetable until `end` with attempts that succeed and take no time.
fn run(table: &mut Timetable<()>, end: Instant) -> Vec<Published> {
    let mut batches = Vec::new();
    while let Some(due) = table.next_due().filter(|due| *due <= end) {
        batches.push((due, publish(table, due, Verdict::Succeeded)));
    }
    batches
}

fn publish(table: &mut Timetable<()>, now: Instant, outcome: Verdict) -> Vec<Position> {
    let batch = table.next_batch(now).unwrap();
    let positions: Vec<_> = batch
        .members
        .iter()
        .map(|(position, _)| *position)
        .collect();
    table.ended(now, batch, vec![outcome; positions.len()]);
    positions
}

/// How long after the one before each publication of a service came.
fn gaps(batches: &[Published]) -> Vec<Duration> {
    let mut last = BTreeMap::new();
    let mut gaps = Vec::new();
    for (at, positions) in batches {
        for position in positions {
            gaps.extend(last.insert(*position, *at).map(|before| *at - before));
        }
    }
    gaps
}

fn per_second(batches: &[Published], from: Instant, secs: usize) -> Vec<usize> {
    let mut counts = vec![0; secs];
    for (at, positions) in batches {
        let since = at.checked_duration_since(from);
        if let Some(count) = since.and_then(|since| counts.get_mut(since.as_secs() as usize)) {
            *count += positions.len();
        }
    }
    counts
}

#[test]
fn few_services_are_refreshed_between_nine_tenths_of_their_interval_and_all_of_it() {
    for services in [1, 2, 10, 64] {
        let start = Instant::now();
        let mut table = Timetable::new(start, RETRY, 8, services);
        for index in 0..services {
            table.add(start + secs(index), position(index), TTL, ());
        }
        let gaps = gaps(&run(&mut table, start + secs(7200)));
        assert!(gaps.len() as u64 >= 29 * services);
        for gap in &gaps {
            assert!(*gap <= INTERVAL && *gap >= INTERVAL * 9 / 10, "{gap:?}");
        }
        assert!(gaps.iter().any(|gap| *gap != gaps[0]), "jittered");
    }
}

#[test]
fn services_that_fit_into_a_batch_become_one_in_the_end() {
    let start = Instant::now();
    let mut table = Timetable::new(start, RETRY, 8, 3);
    for index in 0..64 {
        run(&mut table, start + secs(10 * index));
        table.add(start + secs(10 * index), position(index), TTL, ());
    }
    let batches = run(&mut table, start + secs(3 * 3600));
    let (_, last) = batches.last().unwrap();
    assert_eq!(last.len(), 64);
}

#[test]
fn thousands_advertised_over_an_hour_are_refreshed_in_batches_of_neighbours() {
    let start = Instant::now();
    let mut table = Timetable::new(start, RETRY, 8, 1);
    let mut batches = Vec::new();
    for index in 0..10_000 {
        let now = start + Duration::from_millis(360 * index);
        batches.extend(run(&mut table, now));
        table.add(now, position(index), TTL, ());
    }
    let all_there = start + secs(3600);
    batches.extend(run(&mut table, all_there + secs(1200)));
    let settled = all_there + secs(480);
    let later: Vec<_> = batches.iter().filter(|(at, _)| *at > settled).collect();
    let members: usize = later.iter().map(|(_, positions)| positions.len()).sum();
    assert!(members / later.len() >= 32);
    let mut spans: Vec<_> = later.iter().map(|(_, positions)| span(positions)).collect();
    spans.sort_by(f64::total_cmp);
    // 64 neighbours of 10,000 span so much of the key space.
    assert!(spans[spans.len() / 2] <= 2.0 * 64.0 / 10_000.0);
    assert!(gaps(&batches).iter().all(|gap| *gap <= INTERVAL));
}

/// Which share of the key space lies between the first and the last.
fn span(positions: &[Position]) -> f64 {
    let point = |position: &Position| {
        let [a, b, c, d, ..] = *position.key.as_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
    };
    point(&positions[positions.len() - 1]) - point(&positions[0])
}

#[test]
fn thousands_published_in_the_same_second_spread_over_the_interval_at_once() {
    let start = Instant::now();
    let mut table = Timetable::new(start, RETRY, 8, 1);
    for index in 0..10_000 {
        table.add(start, position(index), TTL, ());
    }
    let published = run(&mut table, start);
    assert_eq!(published.len(), 10_000usize.div_ceil(MAX_CLAIMS));
    let batches = run(&mut table, start + secs(3600));
    let seconds = per_second(&batches, start, 3600);
    let mean = 10_000 / 228;
    assert!(seconds.iter().all(|count| *count <= 6 * mean));
    for minute in seconds.chunks(60).skip(1) {
        let count: usize = minute.iter().sum();
        assert!(count.abs_diff(60 * mean) <= 15 * mean, "{count}");
    }
    assert!(gaps(&batches).iter().all(|gap| *gap <= INTERVAL));
}

#[test]
fn a_service_that_fails_backs_off_without_its_batch() {
    let start = Instant::now();
    let mut table = Timetable::new(start, RETRY, 8, 1);
    for index in 0..10 {
        table.add(start, position(index), TTL, ());
    }
    let batch = table.next_batch(start).unwrap();
    let (bad, _) = batch.members[4];
    let judge = |(p, _): &(Position, _)| match *p == bad {
        true => Verdict::Failed,
        false => Verdict::Succeeded,
    };
    let outcomes: Vec<_> = batch.members.iter().map(judge).collect();
    let failures = table.ended(start, batch, outcomes);
    assert_eq!(failures, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(table.failing(), 1);
    let due = table.next_due().unwrap();
    assert!(due >= start + RETRY.0 / 2 && due <= start + RETRY.0);
    assert_eq!(publish(&mut table, due, Verdict::Succeeded), [bad]);
    assert_eq!(table.failing(), 0);
}

#[test]
fn members_of_a_suspect_batch_are_tried_again_in_halves() {
    let start = Instant::now();
    let mut table = Timetable::new(start, RETRY, 64, 1);
    for index in 0..64 {
        table.add(start, position(index), TTL, ());
    }
    let bad = position(7);
    let mut sizes = Vec::new();
    let mut now = start;
    while !sizes.ends_with(&[1]) {
        let batch = table.next_batch(now).unwrap();
        let has_bad = batch.members.iter().any(|(position, _)| *position == bad);
        let size = batch.members.len();
        let outcome = match has_bad {
            true => Verdict::Suspect,
            false => Verdict::Succeeded,
        };
        sizes.extend(has_bad.then_some(size));
        table.ended(now, batch, vec![outcome; size]);
        now = table.next_due().unwrap();
        table.check_invariants();
    }
    assert_eq!(sizes, [64, 32, 16, 8, 4, 2, 1]);
    assert!(now <= start + 7 * RETRY.0);
    assert!(table.failing() <= 2, "the rest is back");
    let later = run(&mut table, start + secs(400));
    assert!(
        later.iter().any(|(_, positions)| positions.len() > 32),
        "together again"
    );
}

#[test]
fn a_new_service_finds_room_beside_thousands_of_refreshes() {
    let start = Instant::now();
    for max_batches in [2, 3, 8] {
        let mut table = Timetable::new(start, RETRY, max_batches, 1);
        for index in 0..2000 {
            table.add(start, position(index), TTL, ());
        }
        run(&mut table, start);
        let late = start + secs(1000);
        let mut under_way = Vec::new();
        while let Some(batch) = table.next_batch(late) {
            under_way.push(batch);
        }
        assert!(under_way.len() < max_batches);
        assert_eq!(table.next_due(), None);
        table.add(late, position(9999), TTL, ());
        let batch = table.next_batch(late).unwrap();
        assert!(batch.members.iter().any(|(p, _)| *p == position(9999)));
    }
}

#[test]
fn a_service_removed_while_under_way_does_not_come_back() {
    let start = Instant::now();
    let mut table = Timetable::new(start, RETRY, 8, 1);
    table.add(start, position(1), TTL, ());
    let batch = table.next_batch(start).unwrap();
    table.remove(&position(1));
    table.ended(start, batch, [Verdict::Failed]);
    assert_eq!(
        (table.next_due(), table.len(), table.failing()),
        (None, 0, 0)
    );
}

/// What happens to a timetable.
#[derive(Debug, Clone)]
enum Operation {
    Add { index: u64, ttl_secs: u64 },
    Remove { index: u64 },
    Pass { millis: u64 },
    Begin,
    End { which: usize, outcomes: Vec<u8> },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => (0u64..40, prop_oneof![15u64..=80, 15u64..=3600])
            .prop_map(|(index, ttl_secs)| Operation::Add { index, ttl_secs }),
        1 => (0u64..40).prop_map(|index| Operation::Remove { index }),
        2 => (0u64..60_000).prop_map(|millis| Operation::Pass { millis }),
        3 => Just(Operation::Begin),
        3 => (any::<usize>(), prop::collection::vec(0u8..8, MAX_CLAIMS))
            .prop_map(|(which, outcomes)| Operation::End { which, outcomes }),
    ]
}

/// What a naive observer knows: by when each service has to be attempted next.
#[derive(Default)]
struct Oracle {
    deadlines: BTreeMap<Position, Instant>,
    intervals: BTreeMap<Position, Duration>,
    failures: BTreeMap<Position, u32>,
}

impl Oracle {
    fn ended(&mut self, position: Position, started_at: Instant, now: Instant, outcome: Verdict) {
        let Some(interval) = self.intervals.get(&position) else {
            return;
        };
        let failures = self.failures.entry(position).or_default();
        let deadline = match outcome {
            Verdict::Succeeded => {
                *failures = 0;
                (started_at + *interval).max(now)
            }
            Verdict::Over => return self.remove(&position),
            Verdict::Failed | Verdict::Suspect => {
                let wait = secs(1 << (*failures).min(5)).min(RETRY.1).min(*interval);
                *failures += 1;
                now + wait
            }
        };
        self.deadlines.insert(position, deadline);
    }

    fn remove(&mut self, position: &Position) {
        self.deadlines.remove(position);
        self.intervals.remove(position);
        self.failures.remove(position);
    }
}

fn outcome(drawn: u8) -> Verdict {
    match drawn {
        0 => Verdict::Failed,
        1 => Verdict::Suspect,
        2 => Verdict::Over,
        _ => Verdict::Succeeded,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_service_is_attempted_by_its_deadline_and_never_twice_at_once(
        operations in prop::collection::vec(operation(), 1..200),
        max_batches in 1usize..6,
        seed: u64,
    ) {
        let mut now = Instant::now();
        let mut table = Timetable::new(now, RETRY, max_batches, seed);
        let mut oracle = Oracle::default();
        let mut under_way: Vec<Batch<()>> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Add { index, ttl_secs } => {
                    let position = position(index);
                    if !oracle.intervals.contains_key(&position)
                        && !under_way.iter().any(|b| b.members.iter().any(|(p, _)| *p == position))
                    {
                        table.add(now, position, secs(ttl_secs), ());
                        oracle.intervals.insert(position, refresh_interval(secs(ttl_secs)));
                        oracle.deadlines.insert(position, now);
                    }
                }
                Operation::Remove { index } => {
                    table.remove(&position(index));
                    oracle.remove(&position(index));
                }
                Operation::Pass { millis } => {
                    // An owner who keeps up never lets time pass over what is due.
                    let to = now + Duration::from_millis(millis);
                    now = table.next_due().map_or(to, |due| due.min(to)).max(now);
                }
                Operation::Begin => {
                    if let Some(batch) = table.next_batch(now) {
                        prop_assert!(batch.members.len() <= MAX_CLAIMS);
                        prop_assert!(batch.members.is_sorted_by_key(|(position, _)| *position));
                        for (position, _) in &batch.members {
                            prop_assert!(oracle.deadlines.remove(position).is_some());
                        }
                        under_way.push(batch);
                    }
                }
                Operation::End { which, outcomes } => {
                    if !under_way.is_empty() {
                        let batch = under_way.swap_remove(which % under_way.len());
                        let outcomes = outcomes.into_iter().map(outcome);
                        for ((position, _), outcome) in batch.members.iter().zip(outcomes.clone()) {
                            oracle.ended(*position, batch.started_at, now, outcome);
                        }
                        table.ended(now, batch, outcomes);
                    }
                }
            }
            table.check_invariants();
            prop_assert!(under_way.len() <= max_batches);
            if under_way.is_empty() {
                // Nothing holds a batch up, so whoever is due has its turn now.
                let first = oracle.deadlines.values().min();
                prop_assert!(first.is_none_or(|first| table.next_due().unwrap() <= *first));
            }
        }
    }

    #[test]
    fn no_record_lapses_while_attempts_succeed_and_take_no_time(
        ttls in prop::collection::vec(15u64..2000, 1..300),
        step_millis in 0u64..5000,
        seed: u64,
    ) {
        let start = Instant::now();
        let mut table = Timetable::new(start, RETRY, 4, seed);
        let mut batches = Vec::new();
        let mut intervals = BTreeMap::new();
        for (index, ttl) in ttls.into_iter().enumerate() {
            let index = index as u64;
            let now = start + Duration::from_millis(step_millis * index);
            batches.extend(run(&mut table, now));
            table.add(now, position(index), secs(ttl), ());
            intervals.insert(position(index), refresh_interval(secs(ttl)));
        }
        let end = start + secs(1800);
        batches.extend(run(&mut table, end));
        let mut last = BTreeMap::new();
        for (at, positions) in &batches {
            for position in positions {
                if let Some(before) = last.insert(*position, *at) {
                    prop_assert!(*at - before <= intervals[position]);
                    prop_assert!(*at > before);
                }
            }
        }
        for (position, at) in last {
            prop_assert!(end - at <= intervals[&position]);
        }
    }
}
