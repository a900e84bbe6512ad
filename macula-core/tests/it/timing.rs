//! When a claim counts, and for how long.

use std::time::Duration;

use macula_core::{
    CLOCK_SKEW, MAX_TTL, MIN_TTL, ProviderRecord, RecordDraft, RecordError, Timestamp, Withdrawal,
    WithdrawalDraft,
};
use proptest::prelude::*;

use crate::generate::{NOW, record, record_draft, withdrawal, withdrawal_draft};

const TTL: Duration = Duration::from_secs(300);
const MILLISECOND: Duration = Duration::from_millis(1);

fn issued_now(ttl: Duration) -> ProviderRecord {
    record(RecordDraft {
        issued_at: NOW,
        ttl,
        ..record_draft()
    })
}

fn until(until: Timestamp) -> Withdrawal {
    withdrawal(WithdrawalDraft {
        until,
        ..withdrawal_draft()
    })
}

fn after(duration: Duration) -> Timestamp {
    NOW.saturating_add(duration)
}

fn before(duration: Duration) -> Timestamp {
    NOW.saturating_sub(duration)
}

#[test]
fn the_skew_is_five_minutes() {
    assert_eq!(CLOCK_SKEW, Duration::from_secs(300));
}

#[test]
fn a_clock_five_minutes_off_changes_nothing_for_a_fresh_record() {
    let record = issued_now(TTL);
    for now in [NOW, before(CLOCK_SKEW), after(CLOCK_SKEW)] {
        assert_eq!(record.admit(now, TTL), Ok(TTL));
    }
}

#[test]
fn a_record_from_beyond_the_skew_is_from_the_future() {
    let record = issued_now(TTL);
    assert_eq!(
        record.admit(before(CLOCK_SKEW + MILLISECOND), TTL),
        Err(RecordError::FromTheFuture)
    );
    assert_eq!(
        record.admit(Timestamp::default(), TTL),
        Err(RecordError::FromTheFuture)
    );
}

#[test]
fn a_record_counts_to_the_end_of_its_time_and_the_skew() {
    let record = issued_now(TTL);
    let end = TTL + CLOCK_SKEW;
    assert_eq!(record.admit(after(end - MILLISECOND), TTL), Ok(MILLISECOND));
    for late in [end, end + MILLISECOND, end * 1000] {
        assert_eq!(record.admit(after(late), TTL), Err(RecordError::Expired));
    }
}

#[test]
fn a_relay_cannot_prolong_a_record() {
    let record = issued_now(TTL);
    assert_eq!(record.admit(NOW, Duration::MAX), Ok(TTL));
    assert_eq!(record.admit(after(TTL), Duration::MAX), Ok(CLOCK_SKEW));
}

#[test]
fn a_relay_states_what_is_left() {
    let left = Duration::from_secs(7);
    assert_eq!(issued_now(TTL).admit(NOW, left), Ok(left));
    assert_eq!(
        issued_now(TTL).admit(NOW, Duration::ZERO),
        Err(RecordError::Expired)
    );
}

#[test]
fn the_shortest_and_the_longest_time_to_live_are_granted() {
    for ttl in [MIN_TTL, MAX_TTL] {
        assert_eq!(issued_now(ttl).admit(NOW, ttl), Ok(ttl));
    }
}

#[test]
fn a_withdrawal_is_remembered_until_it_says_and_the_skew() {
    let withdrawal = until(after(TTL));
    assert_eq!(withdrawal.admit(NOW), Ok(TTL + CLOCK_SKEW));
    assert_eq!(
        withdrawal.admit(after(TTL + CLOCK_SKEW)),
        Err(RecordError::Expired)
    );
}

#[test]
fn nobody_has_to_remember_a_withdrawal_for_longer_than_a_record_can_count() {
    let endless = until(Timestamp::from_unix_millis(u64::MAX));
    assert_eq!(endless.admit(NOW), Ok(Withdrawal::MAX_LIFE));
    assert!(Withdrawal::MAX_LIFE >= MAX_TTL + CLOCK_SKEW);
}

proptest! {
    #[test]
    fn admission_never_exceeds_any_of_its_limits(
        issued_at in any::<u64>(),
        ttl in MIN_TTL.as_millis() as u64..=MAX_TTL.as_millis() as u64,
        offset in -100_000_000_i64..100_000_000,
        stated in any::<u64>(),
    ) {
        let (ttl, stated) = (Duration::from_millis(ttl), Duration::from_millis(stated));
        let issued_at = Timestamp::from_unix_millis(issued_at);
        let now = Timestamp::from_unix_millis(issued_at.unix_millis().saturating_add_signed(offset));
        let record = record(RecordDraft { issued_at, ttl, ..record_draft() });
        if let Ok(life) = record.admit(now, stated) {
            let end = issued_at.saturating_add(ttl).saturating_add(CLOCK_SKEW);
            prop_assert!(!life.is_zero());
            prop_assert!(life <= ttl && life <= stated && life <= end.saturating_since(now));
        }
    }

    // However late the record is replayed and whatever its relay states, the withdrawal that was
    // made for it is still there and stays for longer.
    #[test]
    fn a_withdrawn_record_is_never_admitted_to_where_its_withdrawal_is_not(
        ttl in MIN_TTL.as_millis() as u64..=MAX_TTL.as_millis() as u64,
        offset in -500_000_i64..100_000_000,
    ) {
        let ttl = Duration::from_millis(ttl);
        let now = Timestamp::from_unix_millis(NOW.unix_millis().saturating_add_signed(offset));
        if let Ok(life) = issued_now(ttl).admit(now, Duration::MAX) {
            let remembered = until(after(ttl)).admit(now).unwrap();
            prop_assert!(remembered >= life);
        }
    }
}
