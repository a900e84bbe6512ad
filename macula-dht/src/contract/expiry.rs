//! Expiry: records end by themselves, and only a newer one goes on.

use std::time::Duration;

use macula_core::{ProviderRecord, RecordDraft};

use crate::contract::SETTLE;
use crate::contract::case::{Case, Checked, SHORT_TTL, Who, ensure};

pub(super) async fn expired_record_is_not_found(case: &Case) -> Checked {
    announce_short(case, 1).await?;
    case.announce(Who::Second, 1).await?;
    let both = [(Who::First, 1), (Who::Second, 1)];
    case.comes_to_see(Who::Reader, &both).await?;
    case.pass(SHORT_TTL).await;
    case.settles_to(&[(Who::Second, 1)]).await
}

pub(super) async fn identical_replay_gains_no_life(case: &Case) -> Checked {
    let record = announce_short(case, 1).await?;
    case.pass(MOST_OF_IT).await;
    case.replay(Who::First, &record).await?;
    case.sees(Who::Reader, &[(Who::First, 1)]).await?;
    let left = SHORT_TTL - MOST_OF_IT + SETTLE;
    for found in case.find(Who::Reader).await?.providers {
        ensure(
            found.life <= left,
            format!("replayed, and lives {:?} more", found.life),
        )?;
    }
    case.pass(SHORT_TTL - MOST_OF_IT).await;
    case.settles_to(&[]).await
}

pub(super) async fn newer_record_revives_an_expired_provider(case: &Case) -> Checked {
    announce_short(case, 1).await?;
    case.pass(SHORT_TTL).await;
    case.settles_to(&[]).await?;
    announce_short(case, 2).await?;
    case.settles_to(&[(Who::First, 2)]).await
}

async fn announce_short(case: &Case, seq: u64) -> Checked<ProviderRecord> {
    let draft = RecordDraft {
        ttl: SHORT_TTL,
        ..case.draft(seq)
    };
    let record = case.sign(Who::First, draft)?;
    case.announce_record(Who::First, record.clone()).await?;
    Ok(record)
}

/// So much of a short record's life that a replay could visibly prolong it.
const MOST_OF_IT: Duration = Duration::from_secs(SHORT_TTL.as_secs() * 2 / 3);
