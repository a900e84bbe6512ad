//! What every selector promises.

use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use rand::RngExt as _;

use crate::contract::MAX_CANDIDATES;
use crate::contract::crowd::{Checked, Crowd, broken, choose, ensure, first, lots};
use crate::{ProviderHealth, ProviderSelector, Selection};

type Selector<'a> = &'a dyn ProviderSelector;

pub(super) fn nobody_is_chosen_where_there_is_nobody(crowd: &Crowd, it: Selector<'_>) -> Checked {
    for attempt in 1..=5 {
        let nobody = it.select(&Selection::new(&crowd.service, attempt, &[]));
        ensure(nobody.is_none(), format!("{nobody:?} of none was chosen"))?;
    }
    Ok(())
}

pub(super) fn the_only_candidate_is_chosen(crowd: &Crowd, it: Selector<'_>) -> Checked {
    let mut rng = lots(1);
    for attempt in 1..=100 {
        let one = crowd.known(1, &mut rng);
        choose(it, &Selection::new(&crowd.service, attempt, &one))?;
    }
    Ok(())
}

pub(super) fn whoever_is_chosen_is_a_candidate(crowd: &Crowd, it: Selector<'_>) -> Checked {
    let mut rng = lots(2);
    for count in 1..=MAX_CANDIDATES {
        for attempt in 1..=8 {
            let candidates = crowd.known(count, &mut rng);
            choose(it, &Selection::new(&crowd.service, attempt, &candidates))?;
        }
    }
    Ok(())
}

pub(super) fn a_call_that_fails_over_comes_to_everybody_once(
    crowd: &Crowd,
    it: Selector<'_>,
) -> Checked {
    let mut rng = lots(3);
    for count in [1, 2, 3, 7, MAX_CANDIDATES] {
        for _ in 0..20 {
            let mut untried = crowd.known(count, &mut rng);
            for attempt in 1.. {
                if untried.is_empty() {
                    break;
                }
                let selection = Selection::new(&crowd.service, attempt, &untried);
                let chosen = choose(it, &selection)?;
                untried.remove(chosen);
            }
        }
    }
    Ok(())
}

/// Somebody may be chosen for a call and not tried, because another call was quicker.
pub(super) fn candidates_that_others_have_taken_are_not_missed(
    crowd: &Crowd,
    it: Selector<'_>,
) -> Checked {
    let mut rng = lots(4);
    for count in 1..=8 {
        for chosen_before in 0..=MAX_CANDIDATES {
            let candidates = crowd.known(count, &mut rng);
            let selection = Selection {
                chosen_before,
                ..Selection::new(&crowd.service, 1, &candidates)
            };
            choose(it, &selection)?;
        }
    }
    Ok(())
}

pub(super) fn candidates_that_come_and_go_confuse_nobody(
    crowd: &Crowd,
    it: Selector<'_>,
) -> Checked {
    let mut rng = lots(5);
    for _ in 0..1_000 {
        let count = rng.random_range(0..=MAX_CANDIDATES);
        let candidates = crowd.known(count, &mut rng);
        let service = match rng.random() {
            true => &crowd.service,
            false => &crowd.other,
        };
        let selection = Selection::new(service, rng.random_range(1..=3), &candidates);
        match count {
            0 => ensure(
                it.select(&selection).is_none(),
                "somebody of none was chosen",
            )?,
            _ => drop(choose(it, &selection)?),
        }
    }
    Ok(())
}

pub(super) fn whatever_is_known_of_candidates_one_is_chosen(
    crowd: &Crowd,
    it: Selector<'_>,
) -> Checked {
    let whiles = [None, Some(Duration::ZERO), Some(Duration::MAX)];
    let mut known = Vec::new();
    for latency in whiles {
        for waiting in whiles {
            for failing in [0.0, 1.0] {
                for in_flight in [0, usize::MAX] {
                    known.push(ProviderHealth {
                        latency,
                        waiting,
                        failing,
                        in_flight,
                        ..ProviderHealth::default()
                    });
                }
            }
        }
    }
    for one in &known {
        for other in &known {
            let mut two = crowd.strangers(2);
            (two[0].health, two[1].health) = (*one, *other);
            first(it, &crowd.service, &two)?;
        }
    }
    Ok(())
}

pub(super) fn calls_on_many_threads_choose_at_once(crowd: &Crowd, it: Selector<'_>) -> Checked {
    thread::scope(|scope| {
        let calling = |seed| {
            move || {
                let mut rng = lots(seed);
                for _ in 0..500 {
                    let count = rng.random_range(1..=MAX_CANDIDATES);
                    first(it, &crowd.service, &crowd.known(count, &mut rng))?;
                }
                Ok(())
            }
        };
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(calling(seed))).collect();
        let mut ended = threads.into_iter().map(ScopedJoinHandle::join);
        ended.try_for_each(|checked| checked.unwrap_or_else(|_| broken("a thread panicked")))
    })
}
