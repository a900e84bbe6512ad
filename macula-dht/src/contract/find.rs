//! Finding: what is there and nothing else, the same for everybody, in time.

use std::time::Duration;

use macula_core::{Key, Realm, RecordDraft};
use tokio::time::Instant;

use crate::contract::case::{Case, Checked, Who, broken, ensure, name, options};
use crate::{FindOptions, FindOutcome, Scope};

pub(super) async fn unknown_key_finds_nothing(case: &Case) -> Checked {
    for who in Who::ALL {
        let found = case.find(who).await?;
        case.shows(who, &found, &[])?;
        // All members reach each other, so that nothing keeps it from being proved.
        ensure(
            found.outcome == FindOutcome::Absent,
            format!("the outcome is {:?}, and not absent", found.outcome),
        )?;
    }
    Ok(())
}

pub(super) async fn every_member_sees_the_same(case: &Case) -> Checked {
    case.announce(Who::First, 3).await?;
    case.announce(Who::Second, 2).await?;
    case.announce(Who::Third, 1).await?;
    case.settles_to(&[(Who::First, 3), (Who::Second, 2), (Who::Third, 1)])
        .await
}

pub(super) async fn own_and_foreign_records_are_merged(case: &Case) -> Checked {
    case.announce(Who::Reader, 1).await?;
    case.announce(Who::First, 1).await?;
    let both = [(Who::Reader, 1), (Who::First, 1)];
    case.comes_to_see(Who::Reader, &both).await?;
    case.announce(Who::First, 2).await?;
    case.settles_to(&[(Who::Reader, 1), (Who::First, 2)]).await
}

pub(super) async fn services_and_realms_are_kept_apart(case: &Case) -> Checked {
    let Ok(realm) = Realm::try_from("elsewhere") else {
        return broken("the suite's own realm is refused");
    };
    let elsewhere = RecordDraft {
        realm,
        ..case.draft(1)
    };
    let otherwise = RecordDraft {
        service: name("contract.other")?,
        ..case.draft(1)
    };
    let other_key = Key::of_service(&otherwise.realm, &otherwise.service);
    let records = vec![
        case.sign(Who::First, elsewhere)?,
        case.sign(Who::First, otherwise)?,
    ];
    if let Err(error) = case.try_announce(Who::First, records).await {
        return broken(format!("announce failed: {error}"));
    }
    case.settles_to(&[]).await?;
    let network = options(Scope::Network);
    let found = case.find_with(Who::Reader, other_key, network).await?;
    case.shows(Who::Reader, &found, &[(Who::First, 1)])
}

pub(super) async fn connected_peers_answer_for_what_they_hold(case: &Case) -> Checked {
    case.announce(Who::First, 1).await?;
    case.announce(Who::Second, 1).await?;
    let both = [(Who::First, 1), (Who::Second, 1)];
    case.settles_to(&both).await?;
    // The network is so small that every member holds every record.
    let connected = options(Scope::Connected);
    let found = case.find_with(Who::Reader, case.key(), connected).await?;
    case.shows(Who::Reader, &found, &both)
}

pub(super) async fn find_ends_by_its_timeout(case: &Case) -> Checked {
    let hurried = FindOptions {
        timeout: HURRY,
        ..options(Scope::Network)
    };
    let started = Instant::now();
    let found = case.find_with(Who::Reader, case.key(), hurried).await?;
    let took = started.elapsed();
    case.shows(Who::Reader, &found, &[])?;
    ensure(
        took <= HURRY + LATE,
        format!("a find within {HURRY:?} took {took:?}"),
    )
}

pub(super) async fn trace_is_told_when_it_is_asked_for(case: &Case) -> Checked {
    case.announce(Who::First, 1).await?;
    for trace in [false, true] {
        let options = FindOptions {
            trace,
            ..options(Scope::Network)
        };
        let found = case.find_with(Who::Reader, case.key(), options).await?;
        // An implementation need not tell, nor send requests.
        let told = found.trace.len();
        ensure(
            told == 0 || (trace && told == found.requests),
            format!("{told} of {} requests are told", found.requests),
        )?;
    }
    Ok(())
}

const HURRY: Duration = Duration::from_millis(20);

/// How much later than its timeout a find may end: what a busy machine may need to notice.
const LATE: Duration = Duration::from_millis(50);
