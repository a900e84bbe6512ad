//! Announcing: who is found, what replaces what, what is refused.

use macula_core::{Addresses, Delivery, Metadata, ProviderRecord, RecordDraft, Timestamp};

use crate::contract::case::{Case, Checked, Who, broken, ensure, name};
use crate::{AnnounceReport, DhtError, FindOutcome};

pub(super) async fn announced_record_is_found_as_it_was_signed(case: &Case) -> Checked {
    let mut metadata = Metadata::new();
    if metadata.insert("version", "1.0").is_err() {
        return broken("the suite's own metadata is refused");
    }
    let draft = RecordDraft {
        metadata,
        delivery: Delivery::AtMostOnce,
        ..case.draft(1)
    };
    let record = case.sign(Who::First, draft)?;
    case.announce_record(Who::First, record.clone()).await?;
    case.comes_to_see(Who::Reader, &[(Who::First, 1)]).await?;

    let found = case.find(Who::Reader).await?;
    let same = found.providers.iter().all(|found| found.record == record);
    ensure(same, "the record that is found is not the one announced")?;
    let lives: Vec<_> = found.providers.iter().map(|found| found.life).collect();
    let alive = lives
        .iter()
        .all(|life| !life.is_zero() && *life <= record.ttl());
    ensure(alive, format!("lives of {lives:?} for {:?}", record.ttl()))?;
    ensure(
        found.outcome == FindOutcome::Found,
        format!("one provider and the outcome {:?}", found.outcome),
    )
}

pub(super) async fn two_providers_are_found_in_any_order_of_arrival(case: &Case) -> Checked {
    case.announce(Who::Second, 7).await?;
    case.announce(Who::First, 1).await?;
    let both = [(Who::First, 1), (Who::Second, 7)];
    case.comes_to_see(Who::Reader, &both).await?;
    case.settles_to(&both).await?;
    // The other way round: each newer than what is there.
    case.announce(Who::First, 8).await?;
    case.announce(Who::Second, 8).await?;
    let both = [(Who::First, 8), (Who::Second, 8)];
    case.comes_to_see(Who::Reader, &both).await?;
    case.settles_to(&both).await
}

pub(super) async fn provider_that_announces_again_replaces_itself(case: &Case) -> Checked {
    case.announce(Who::First, 1).await?;
    case.announce(Who::Second, 1).await?;
    case.announce(Who::First, 2).await?;
    case.settles_to(&[(Who::First, 2), (Who::Second, 1)]).await
}

pub(super) async fn older_record_changes_nothing(case: &Case) -> Checked {
    let old = case.announce(Who::First, 1).await?;
    case.announce(Who::First, 2).await?;
    case.comes_to_see(Who::Reader, &[(Who::First, 2)]).await?;
    case.replay(Who::First, &old).await?;
    case.settles_to(&[(Who::First, 2)]).await
}

pub(super) async fn stranger_replaces_nothing(case: &Case) -> Checked {
    case.announce(Who::First, 1).await?;
    case.announce(Who::Second, 1_000).await?;
    case.settles_to(&[(Who::First, 1), (Who::Second, 1_000)])
        .await
}

pub(super) async fn record_without_address_fails_alone(case: &Case) -> Checked {
    let bad = case.sign(
        Who::First,
        RecordDraft {
            service: name("contract.unreachable")?,
            addresses: Addresses::default(),
            ..case.draft(1)
        },
    )?;
    let outcome = case.try_announce(Who::First, vec![bad.clone()]).await;
    ensure(
        outcome == Err(DhtError::NoAddress),
        format!("a record without an address came to {outcome:?}"),
    )?;
    let good = case.sign(Who::First, case.draft(1))?;
    match case.try_announce(Who::First, vec![bad, good]).await {
        Ok(AnnounceReport { records }) => {
            let are_held: Vec<_> = records.iter().map(|one| one.holders > 0).collect();
            ensure(
                are_held == [false, true],
                format!("one of two without an address: {records:?}"),
            )?;
        }
        Err(error) => return broken(format!("one of two without an address: {error}")),
    }
    case.settles_to(&[(Who::First, 1)]).await
}

pub(super) async fn refused_records_fail_alone(case: &Case) -> Checked {
    let draft = |service, seq| {
        Ok(RecordDraft {
            service: name(service)?,
            ..case.draft(seq)
        })
    };
    let older = case.sign(Who::First, draft("contract.older", 1)?)?;
    let newer = case.sign(Who::First, draft("contract.older", 2)?)?;
    case.announce_record(Who::First, newer).await?;
    let late = RecordDraft {
        issued_at: Timestamp::default(),
        ..draft("contract.late", 1)?
    };
    let late = case.sign(Who::First, late)?;
    let good = case.sign(Who::First, case.draft(1))?;
    let all = vec![older, good, late];
    match case.try_announce(Who::First, all).await {
        Ok(AnnounceReport { records }) => {
            let are_held: Vec<_> = records.iter().map(|one| one.holders > 0).collect();
            ensure(
                are_held == [false, true, false],
                format!("a good record between an outdated and a late one: {records:?}"),
            )?;
        }
        Err(error) => return broken(format!("two of three are refused: {error}")),
    }
    case.settles_to(&[(Who::First, 1)]).await
}

pub(super) async fn records_are_reported_in_their_order(case: &Case) -> Checked {
    let mut records = Vec::new();
    for text in ["contract.b", "contract.a", "contract.c"] {
        let draft = RecordDraft {
            service: name(text)?,
            ..case.draft(1)
        };
        records.push(case.sign(Who::First, draft)?);
    }
    let keys: Vec<_> = records.iter().map(ProviderRecord::key).collect();
    let Ok(report) = case.try_announce(Who::First, records).await else {
        return broken("three records at once are refused");
    };
    let reported: Vec<_> = report
        .records
        .iter()
        .map(|announced| announced.key)
        .collect();
    ensure(reported == keys, "the report is not in the records' order")?;
    let held = report.records.iter().all(|announced| announced.holders > 0);
    ensure(held, "a record of three has no holder")
}
