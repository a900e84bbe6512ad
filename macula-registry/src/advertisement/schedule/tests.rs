use macula_core::{MAX_TTL, MIN_TTL};
use proptest::prelude::*;

use super::*;

fn schedule(epoch: Instant, phase: u32) -> Schedule {
    Schedule {
        epoch,
        phase,
        retry_first: Duration::from_secs(1),
        retry_max: Duration::from_secs(30),
    }
}

#[test]
fn waits_double_up_to_the_maximum() {
    let (first, max) = (Duration::from_secs(1), Duration::from_secs(30));
    let waits = (0..8).map(|failures| back_off(first, max, failures).as_secs());
    assert_eq!(waits.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(back_off(first, max, u32::MAX), max);
}

#[test]
fn slots_get_narrower_as_services_get_more() {
    let bits = [0, 64, 127, 128, 256, 10_000, usize::MAX].map(slot_bits);
    assert_eq!(bits, [0, 0, 0, 1, 2, 7, 16]);
    let key = Key::from_bytes([0xff; 32]);
    let slots = [0, 1, 2, 16].map(|bits| slot(&key, bits));
    assert_eq!(slots, [0, 0x8000_0000, 0xc000_0000, 0xffff_0000]);
}

proptest! {
    #[test]
    fn refresh_comes_by_its_interval_and_before_the_record_expires(
        ttl_millis in MIN_TTL.as_millis() as u64..=MAX_TTL.as_millis() as u64,
        population in prop_oneof![1usize..200, 1usize..100_000],
        key: [u8; 32],
        phase: u32,
        draw: u32,
        up_millis in 0u64..1_000_000_000,
    ) {
        let epoch = Instant::now();
        let started_at = epoch + Duration::from_millis(up_millis);
        let ttl = Duration::from_millis(ttl_millis);
        let interval = MIN_REFRESH.max(ttl.saturating_sub(REFRESH_MARGIN));
        let key = Key::from_bytes(key);
        let refresh = Refresh { key: &key, interval, population };
        let due = schedule(epoch, phase).refresh(started_at, refresh, Draw(draw)) - started_at;
        prop_assert!(due <= interval && due + Duration::from_secs(5) <= ttl);
        let jumps = population > MAX_CLAIMS;
        let earliest = if jumps { interval / 40 } else { interval * 9 / 10 };
        // Divided durations lose less than a microsecond.
        prop_assert!(due + Duration::from_micros(1) >= earliest);
    }

    #[test]
    fn retries_stay_between_half_and_whole_of_the_wait(failures in 0u32..100, draw: u32) {
        let ended_at = Instant::now();
        let interval = Duration::from_secs(10);
        let retry = Retry { interval, failures };
        let wait = schedule(ended_at, 0).retry(ended_at, retry, Draw(draw)) - ended_at;
        let whole = Duration::from_secs(1 << failures.min(5)).min(interval);
        prop_assert!(wait <= whole && wait >= whole / 2);
    }
}
