use macula_core::Key;

use super::*;

const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

fn position(index: u8) -> Position {
    Position {
        key: Key::from_bytes([index; 32]),
        generation: u64::from(index),
    }
}

fn attempt(all: &mut Withdrawals<()>, now: Instant, outcome: Outcome) -> (usize, Settled) {
    let batch = all.next_batch(now).unwrap();
    let count = batch.members.len();
    (count, all.ended(now, batch, vec![outcome; count]))
}

#[test]
fn withdrawals_are_sent_together_and_done_at_once() {
    let now = Instant::now();
    let mut all = Withdrawals::new(RETRY, 4, 100);
    for index in 0..30 {
        assert!(all.add(now, position(index), ()));
    }
    assert_eq!(all.first_attempts(), 30);
    let (count, settled) = attempt(&mut all, now, Outcome::Done);
    assert_eq!((count, settled.done, settled.given_up), (30, 30, 0));
    assert_eq!(
        (all.len(), all.first_attempts(), all.next_due()),
        (0, 0, None)
    );
}

#[test]
fn what_fails_is_tried_again_ever_later_and_given_up_in_the_end() {
    let mut now = Instant::now();
    let mut all = Withdrawals::new(RETRY, 4, 100);
    all.add(now, position(1), ());
    let mut waits = Vec::new();
    loop {
        let (_, settled) = attempt(&mut all, now, Outcome::Failed);
        assert_eq!(all.first_attempts(), 0);
        let Some(due) = all.next_due() else {
            assert_eq!(settled.given_up, 1);
            break;
        };
        waits.push((due - now).as_secs());
        now = due;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16]);
}

#[test]
fn only_what_failed_of_a_batch_is_tried_again() {
    let now = Instant::now();
    let mut all = Withdrawals::new(RETRY, 4, 100);
    for index in 0..3 {
        all.add(now, position(index), ());
    }
    let batch = all.next_batch(now).unwrap();
    let settled = all.ended(now, batch, [Outcome::Done, Outcome::Failed, Outcome::Over]);
    assert_eq!((settled.done, settled.given_up), (1, 1));
    let due = all.next_due().unwrap();
    let again = all.next_batch(due).unwrap();
    let positions: Vec<_> = again
        .members
        .iter()
        .map(|(position, _)| *position)
        .collect();
    assert_eq!(positions, [position(1)]);
}

#[test]
fn more_than_there_is_room_for_is_refused() {
    let now = Instant::now();
    let mut all = Withdrawals::new(RETRY, 4, 2);
    let added = [1, 2, 3].map(|index| all.add(now, position(index), ()));
    assert_eq!(added, [true, true, false]);
}

#[test]
fn nothing_is_tried_again_while_draining_or_when_it_makes_no_sense() {
    let now = Instant::now();
    let mut all = Withdrawals::new(RETRY, 4, 100);
    all.add(now, position(1), ());
    assert_eq!(attempt(&mut all, now, Outcome::Over).1.given_up, 1);
    all.add(now, position(2), ());
    all.drain();
    assert_eq!(attempt(&mut all, now, Outcome::Failed).1.given_up, 1);
    all.add(now, position(3), ());
    let batch = all.next_batch(now).unwrap();
    assert_eq!(all.clear(), 1);
    // Given up already: it settles nothing more.
    let settled = all.ended(now, batch, [Outcome::Done]);
    assert_eq!(settled, Settled::default());
    assert_eq!(all.first_attempts(), 0);
}
