//! What a selector promises that can be made again.

use rand::RngExt as _;

use crate::Selection;
use crate::contract::crowd::{Checked, Crowd, ensure, lots};
use crate::contract::{MAX_CANDIDATES, Make};

pub(super) fn selectors_made_alike_choose_alike(crowd: &Crowd, make: Make<'_>) -> Checked {
    let (one, other) = (make(), make());
    let mut rng = lots(6);
    for asked in 1..=1_000 {
        let count = rng.random_range(0..=MAX_CANDIDATES);
        let candidates = crowd.known(count, &mut rng);
        let selection = Selection::new(&crowd.service, rng.random_range(1..=3), &candidates);
        let chosen = [&one, &other].map(|selector| selector.select(&selection));
        ensure(
            chosen[0] == chosen[1],
            format!("asked for the {asked}. time they chose {chosen:?}"),
        )?;
    }
    Ok(())
}
