//! Withdrawing: what it takes away, and that nothing old brings it back.

use macula_core::{Timestamp, Withdrawal, WithdrawalDraft};

use crate::Withdrawn;
use crate::contract::case::{Case, Checked, Who, ensure, name};

pub(super) async fn withdrawn_provider_is_not_found(case: &Case) -> Checked {
    case.announce(Who::First, 1).await?;
    case.comes_to_see(Who::Reader, &[(Who::First, 1)]).await?;
    case.withdraw(Who::First, 1).await?;
    case.settles_to(&[]).await
}

pub(super) async fn removing_one_of_three_leaves_two_and_the_last_none(case: &Case) -> Checked {
    for who in [Who::First, Who::Second, Who::Third] {
        case.announce(who, 1).await?;
    }
    let three = [(Who::First, 1), (Who::Second, 1), (Who::Third, 1)];
    case.settles_to(&three).await?;
    case.withdraw(Who::Second, 1).await?;
    case.settles_to(&[(Who::First, 1), (Who::Third, 1)]).await?;
    case.withdraw(Who::First, 1).await?;
    case.withdraw(Who::Third, 1).await?;
    case.settles_to(&[]).await
}

pub(super) async fn stranger_withdraws_nothing(case: &Case) -> Checked {
    case.announce(Who::First, 1).await?;
    case.withdraw(Who::Second, 1_000).await?;
    case.settles_to(&[(Who::First, 1)]).await
}

pub(super) async fn replayed_record_stays_withdrawn(case: &Case) -> Checked {
    let record = case.announce(Who::First, 1).await?;
    case.withdraw(Who::First, 1).await?;
    case.replay(Who::First, &record).await?;
    case.settles_to(&[]).await
}

pub(super) async fn replayed_withdrawal_changes_nothing(case: &Case) -> Checked {
    case.announce(Who::First, 1).await?;
    let withdrawal = case.withdraw(Who::First, 1).await?;
    case.announce(Who::First, 2).await?;
    case.comes_to_see(Who::Reader, &[(Who::First, 2)]).await?;
    case.withdraw_again(Who::First, &withdrawal).await?;
    case.settles_to(&[(Who::First, 2)]).await
}

pub(super) async fn newer_record_revives_a_withdrawn_provider(case: &Case) -> Checked {
    case.announce(Who::First, 1).await?;
    case.withdraw(Who::First, 1).await?;
    case.settles_to(&[]).await?;
    case.announce(Who::First, 2).await?;
    case.settles_to(&[(Who::First, 2)]).await
}

pub(super) async fn withdrawing_what_was_never_announced_keeps_older_records_out(
    case: &Case,
) -> Checked {
    let old = case.sign(Who::First, case.draft(4))?;
    case.withdraw(Who::First, 5).await?;
    case.replay(Who::First, &old).await?;
    case.settles_to(&[]).await?;
    case.announce(Who::First, 6).await?;
    case.settles_to(&[(Who::First, 6)]).await
}

pub(super) async fn withdrawals_are_reported_in_their_order(case: &Case) -> Checked {
    case.announce(Who::First, 1).await?;
    let mut drafts = vec![case.withdrawal_draft(1)];
    for never_announced in ["contract.c", "contract.a", "contract.b"] {
        drafts.push(WithdrawalDraft {
            service: name(never_announced)?,
            ..case.withdrawal_draft(1)
        });
    }
    let drafts = drafts.into_iter();
    let withdrawals = drafts.map(|draft| case.sign_withdrawal(Who::First, draft));
    let withdrawals = withdrawals.collect::<Checked<Vec<_>>>()?;
    let keys: Vec<_> = withdrawals.iter().map(Withdrawal::key).collect();
    let report = case.withdraw_all(Who::First, withdrawals).await?;
    let reported: Vec<_> = report.withdrawals.iter().map(|one| one.key).collect();
    ensure(
        reported == keys,
        "the report is not in the withdrawals' order",
    )?;
    let are_taken = report.withdrawals.iter().all(|one| one.acknowledged > 0);
    ensure(are_taken, format!("nobody took one of four: {report:?}"))?;
    case.settles_to(&[]).await
}

pub(super) async fn superseded_withdrawal_counts_as_told(case: &Case) -> Checked {
    case.announce(Who::First, 2).await?;
    case.withdraw(Who::First, 1).await?;
    case.settles_to(&[(Who::First, 2)]).await
}

pub(super) async fn withdrawal_out_of_its_time_counts_as_told(case: &Case) -> Checked {
    let late = WithdrawalDraft {
        until: Timestamp::default(),
        ..case.withdrawal_draft(1)
    };
    let late = case.sign_withdrawal(Who::First, late)?;
    let in_time = case.sign_withdrawal(Who::First, case.withdrawal_draft(1))?;
    for withdrawals in [vec![late.clone()], vec![late, in_time]] {
        let report = case.withdraw_all(Who::First, withdrawals.clone()).await?;
        let are_told = report.withdrawals.iter().all(Withdrawn::is_told);
        ensure(
            are_told && report.withdrawals.len() == withdrawals.len(),
            format!("one out of its time, alone or not: {report:?}"),
        )?;
    }
    Ok(())
}
