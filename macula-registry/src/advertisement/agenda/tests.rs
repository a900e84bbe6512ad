use std::time::Duration;

use super::*;

fn position(index: u64) -> Position {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(index << 32).to_be_bytes());
    Position {
        key: Key::from_bytes(key),
        generation: index,
    }
}

fn again(due: Instant, ripe: Option<Instant>) -> Turn {
    Turn {
        queue: Queue::Again,
        due,
        ripe,
    }
}

fn indices(batch: &Batch<()>) -> Vec<u64> {
    let members = batch.members.iter();
    members.map(|(position, ())| position.generation).collect()
}

#[test]
fn what_is_due_takes_its_nearest_neighbours_along_that_are_ripe() {
    let now = Instant::now();
    let later = now + Duration::from_secs(10);
    let mut agenda = Agenda::new(4);
    for index in 0..300 {
        let ripe = if index % 2 == 0 { now } else { later };
        agenda.insert(position(index), again(later, Some(ripe)), ());
    }
    agenda.insert(position(101), again(now, Some(now)), ());
    let batch = agenda.next_batch(now).unwrap();
    let mut expected: Vec<_> = (38..=164).step_by(2).chain([101]).collect();
    expected.sort_unstable();
    let found = indices(&batch);
    assert_eq!(found.len(), MAX_CLAIMS);
    // Of two that are equally near either may come.
    assert!(found.iter().all(|index| expected.contains(index)));
    assert!(agenda.next_batch(now).is_none());
    agenda.check_invariants();
}

#[test]
fn one_that_goes_alone_is_nobodys_neighbour() {
    let now = Instant::now();
    let mut agenda = Agenda::new(4);
    agenda.insert(position(1), again(now, None), ());
    agenda.insert(position(2), again(now, Some(now)), ());
    agenda.insert(position(3), again(now, Some(now)), ());
    let batches: Vec<_> = std::iter::from_fn(|| agenda.next_batch(now)).collect();
    let batches: Vec<_> = batches.iter().map(indices).collect();
    assert_eq!(batches, [vec![1], vec![2, 3]]);
}

#[test]
fn what_waited_for_longest_begins() {
    let now = Instant::now();
    let mut agenda = Agenda::new(4);
    for index in 1..=3 {
        let due = now + Duration::from_secs(10 - index);
        agenda.insert(position(index), again(due, None), ());
    }
    let end = now + Duration::from_secs(60);
    let batches: Vec<_> = std::iter::from_fn(|| agenda.next_batch(end)).collect();
    let batches: Vec<_> = batches.iter().flat_map(indices).collect();
    assert_eq!(batches, [3, 2, 1]);
}

#[test]
fn neither_queue_ever_takes_all_batches() {
    let now = Instant::now();
    for queue in [Queue::First, Queue::Again] {
        let mut agenda = Agenda::new(8);
        for index in 0..20 {
            let turn = Turn {
                queue,
                due: now,
                ripe: None,
            };
            agenda.insert(position(index), turn, ());
        }
        let begun = std::iter::from_fn(|| agenda.next_batch(now)).count();
        assert_eq!(begun, 6);
        agenda.ended(queue);
        assert!(agenda.next_batch(now).is_some());
        agenda.check_invariants();
    }
    let mut single = Agenda::new(1);
    single.insert(position(1), again(now, None), ());
    assert!(single.next_batch(now).is_some());
}

#[test]
fn what_is_removed_while_under_way_is_not_wanted_back() {
    let now = Instant::now();
    let mut agenda = Agenda::new(4);
    agenda.insert(position(1), again(now, Some(now)), ());
    agenda.insert(position(2), again(now, Some(now)), ());
    let batch = agenda.next_batch(now).unwrap();
    assert_eq!((batch.members.len(), agenda.len()), (2, 2));
    assert!(agenda.remove(&position(1)));
    assert!(!agenda.remove(&position(1)));
    assert!(!agenda.is_back(&position(1)));
    assert!(agenda.is_back(&position(2)));
    assert_eq!(agenda.len(), 0);
}
