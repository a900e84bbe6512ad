//! Which candidates are left out because their breakers are open.

use crate::selector::Candidates;
use crate::{BreakerState, Candidate};

/// Leaves out those whose breakers are open, but never more than half of all, and nobody when
/// all are: what looks dead everywhere is more likely this node's own trouble, and somebody has to
/// be tried. The worst are left out first.
///
/// A call that may run only once and comes to nothing there could not go on: for it all of them are
/// left out as long as there is anybody else.
pub(crate) fn leave_out(candidates: &mut Candidates<'_>, at_most_once: bool) {
    let open = candidates.iter().filter(|it| is_open(it)).count();
    if open == 0 || open == candidates.len() {
        return;
    }
    let most = match at_most_once {
        true => open,
        false => candidates.len() / 2,
    };
    for _ in 0..open.min(most) {
        let failing = |index: &usize| candidates[*index].health.failing;
        let worst = (0..candidates.len())
            .rev()
            .filter(|index| is_open(&candidates[*index]))
            .max_by(|a, b| failing(a).total_cmp(&failing(b)));
        worst.map(|index| candidates.remove(index));
    }
}

fn is_open(candidate: &Candidate<'_>) -> bool {
    candidate.health.breaker == BreakerState::Open
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::selector::tests::candidates;

    proptest! {
        #[test]
        fn at_most_half_are_left_out_the_worst_first_and_nobody_when_all_are(
            open in prop::collection::vec((any::<bool>(), 0_u8..4), 1..20),
            at_most_once: bool,
        ) {
            let mut all = candidates(u8::try_from(open.len()).unwrap());
            for (candidate, (is_open, failing)) in all.iter_mut().zip(&open) {
                candidate.health.failing = f64::from(*failing);
                if *is_open {
                    candidate.health.breaker = BreakerState::Open;
                }
            }
            let mut offered = Candidates::from_slice(&all);
            leave_out(&mut offered, at_most_once);
            let count = open.iter().filter(|(is_open, _)| *is_open).count();
            let left_out = all.len() - offered.len();
            prop_assert_eq!(left_out, match count == all.len() {
                true => 0,
                false if at_most_once => count,
                false => count.min(all.len() / 2),
            });
            prop_assert!(!offered.is_empty());
            prop_assert!(offered.is_sorted_by_key(|it| it.index));
            let is_offered = |index: usize| offered.iter().any(|it| it.index == index);
            for (index, (is_open, failing)) in open.iter().enumerate() {
                prop_assert!(*is_open || is_offered(index), "those that are well are offered");
                for it in offered.iter().filter(|it| super::is_open(it) && !is_offered(index)) {
                    prop_assert!(open[it.index].1 <= *failing, "the worst are left out");
                }
            }
        }
    }
}
