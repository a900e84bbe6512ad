//! What a selector promises that shares calls out.

use macula_core::ServiceName;

use crate::contract::crowd::{Checked, Crowd, ensure, first};
use crate::{Candidate, ProviderSelector};

type Selector<'a> = &'a dyn ProviderSelector;

pub(super) fn equals_get_equal_shares(crowd: &Crowd, it: Selector<'_>) -> Checked {
    for count in [2, 3, 5, 16] {
        let equals = crowd.strangers(count);
        is_even(&shares(it, &crowd.service, &equals)?)?;
    }
    Ok(())
}

/// Two services whose calls take turns: a selector that counts them together gives all calls of
/// each to the same half.
pub(super) fn each_service_is_shared_out_by_itself(crowd: &Crowd, it: Selector<'_>) -> Checked {
    let equals = crowd.strangers(4);
    let mut calls = [vec![0; 4], vec![0; 4]];
    for _ in 0..CALLS_EACH * 4 {
        for (calls, service) in calls.iter_mut().zip([&crowd.service, &crowd.other]) {
            calls[first(it, service, &equals)?] += 1;
        }
    }
    calls.iter().try_for_each(|calls| is_even(calls))
}

pub(super) fn whoever_is_new_gets_a_share_at_once(crowd: &Crowd, it: Selector<'_>) -> Checked {
    for count in 1..8 {
        let equals = crowd.strangers(count);
        is_even(&shares(it, &crowd.service, &equals)?)?;
    }
    Ok(())
}

/// How many of so many calls for each go to whom.
fn shares(
    it: Selector<'_>,
    service: &ServiceName,
    candidates: &[Candidate<'_>],
) -> Checked<Vec<usize>> {
    let mut calls = vec![0; candidates.len()];
    for _ in 0..candidates.len() * CALLS_EACH {
        calls[first(it, service, candidates)?] += 1;
    }
    Ok(calls)
}

fn is_even(calls: &[usize]) -> Checked {
    let is_share = |calls: &usize| calls.abs_diff(CALLS_EACH) <= TOLERANCE;
    ensure(
        calls.iter().all(is_share),
        format!("of {CALLS_EACH} calls for each, they got {calls:?}"),
    )
}

const CALLS_EACH: usize = 2_000;

/// More than seven standard deviations of a share of even draws, whose variance is at most the mean.
const TOLERANCE: usize = 320;
