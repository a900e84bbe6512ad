//! The regions that walks have proved lately.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use macula_core::Key;

use super::region::Region;

/// Regions that are remembered. With one more the oldest is forgotten, and costs a walk.
const MAX_REGIONS: usize = 32;

/// How long a region may be relied on: shorter than a walk may take, whose first answers are as
/// old when it ends.
const LIFE: Duration = Duration::from_secs(5);

/// The newest regions, oldest first.
///
// Invariant: at most MAX_REGIONS.
#[derive(Debug, Clone, Default)]
pub(super) struct Regions {
    recent: VecDeque<Region>,
}

impl Regions {
    /// Remembers a region, unless it is of a network so small that a walk costs little: those grow.
    pub(super) fn remember(&mut self, now: Instant, region: Region) {
        self.forget_old(now);
        if region.depth().is_none() {
            return;
        }
        if self.recent.len() == MAX_REGIONS {
            self.recent.pop_front();
        }
        self.recent.push_back(region);
    }

    /// A region that shows who is closest to a point, the newest.
    pub(super) fn covering(&self, now: Instant, point: &Key, count: usize) -> Option<&Region> {
        let recent = self.recent.iter().rev();
        recent
            .take_while(|region| !is_over(region, now))
            .find(|region| region.covers(point, count))
    }

    /// How many bits a point should share with the target of a walk to be covered by it, as the
    /// newest region has it.
    pub(super) fn depth(&self) -> Option<usize> {
        self.recent.back().and_then(Region::depth)
    }

    pub(super) fn forget_old(&mut self, now: Instant) {
        while self
            .recent
            .front()
            .is_some_and(|region| is_over(region, now))
        {
            self.recent.pop_front();
        }
        if self.recent.is_empty() {
            // An idle node keeps no memory for them.
            self.recent = VecDeque::new();
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.recent.len() <= MAX_REGIONS, "too many regions");
    }
}

fn is_over(region: &Region, now: Instant) -> bool {
    region.walked_at() + LIFE <= now
}

#[cfg(test)]
mod tests {
    use macula_core::Distance;

    use super::super::region::Reach;
    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// A region of nobody, within a horizon: nothing but its age and depth matter.
    fn region(walked_at: Instant, horizon: u8) -> Region {
        let mut bytes = [0; 32];
        bytes[0] = horizon;
        let reach = Reach::Within(Distance::from_bytes(bytes));
        Region::new(Key::from_bytes([0; 32]), walked_at, reach, Vec::new())
    }

    #[test]
    fn region_is_relied_on_for_some_seconds() {
        let (mut regions, now) = (Regions::default(), now());
        let target = Key::from_bytes([0; 32]);
        regions.remember(now, region(now, 0x10));
        assert_eq!(regions.depth(), Some(4));
        let just_before = now + LIFE - Duration::from_millis(1);
        assert!(regions.covering(just_before, &target, 0).is_some());
        assert!(regions.covering(now + LIFE, &target, 0).is_none());
        regions.forget_old(now + LIFE);
        assert_eq!(regions.depth(), None);
    }

    #[test]
    fn oldest_region_gives_way_to_one_too_many() {
        let (mut regions, now) = (Regions::default(), now());
        for _ in 0..=MAX_REGIONS {
            regions.remember(now, region(now, 0x10));
            regions.check_invariants();
        }
        assert_eq!(regions.recent.len(), MAX_REGIONS);
    }

    #[test]
    fn network_that_may_grow_soon_is_not_remembered() {
        let (mut regions, now) = (Regions::default(), now());
        let target = Key::from_bytes([0; 32]);
        for reach in [Reach::Everybody, Reach::Audible] {
            regions.remember(now, Region::new(target, now, reach, Vec::new()));
        }
        assert!(regions.covering(now, &target, 0).is_none());
    }
}
