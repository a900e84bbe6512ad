//! Times in four bytes, for tables that hold very many.

use std::time::{Duration, Instant};

/// A time since an [`Epoch`] in whole tenths of a second, rounded down.
///
/// After 13 years it stands still: whatever is heard of then is as fresh as anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u32);

/// What moments are counted from: the first instant that was noted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Epoch(Option<Instant>);

impl Moment {
    /// The moment this much later, rounded up.
    pub(super) fn after(self, wait: Duration) -> Self {
        let ticks = wait.as_nanos().div_ceil(TICK.as_nanos());
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        Self(self.0.saturating_add(ticks))
    }

    /// How long before `later` it was; zero if it was not.
    pub(super) fn until(self, later: Self) -> Duration {
        TICK * later.0.saturating_sub(self.0)
    }
}

impl Epoch {
    /// The moment of an instant, which is the first if there was none before.
    pub(super) fn note(&mut self, now: Instant) -> Moment {
        moment(*self.0.get_or_insert(now), now)
    }

    /// The moment of an instant; `None` for one before anything was noted: whatever was noted
    /// first is later than that.
    pub(super) fn moment(self, at: Instant) -> Option<Moment> {
        let epoch = self.0.filter(|epoch| *epoch <= at);
        epoch.map(|epoch| moment(epoch, at))
    }

    /// The first instant of a moment.
    pub(super) fn instant(self, moment: Moment) -> Option<Instant> {
        self.0?.checked_add(TICK * moment.0)
    }
}

fn moment(epoch: Instant, at: Instant) -> Moment {
    let ticks = at.saturating_duration_since(epoch).as_millis() / TICK.as_millis();
    Moment(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// What a moment is counted in.
const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_has_come_exactly_when_its_first_instant_has() {
        let start = tokio::time::Instant::now().into_std();
        let mut epoch = Epoch::default();
        assert_eq!(epoch.moment(start), None);
        let first = epoch.note(start + Duration::from_millis(70));
        for wait in [0, 1, 99, 100, 101, 2000].map(Duration::from_millis) {
            let later = first.after(wait);
            let instant = epoch.instant(later).unwrap();
            assert_eq!(epoch.moment(instant), Some(later));
            assert!(instant >= start + Duration::from_millis(70) + wait);
            assert!(epoch.note(instant - Duration::from_nanos(1)) <= later);
            assert!(first.until(later) >= wait);
        }
    }

    #[test]
    fn instants_before_the_epoch_and_after_its_end_saturate() {
        let start = tokio::time::Instant::now().into_std();
        let mut epoch = Epoch::default();
        let first = epoch.note(start + Duration::from_secs(1));
        assert_eq!(epoch.note(start), first);
        let last = first.after(Duration::MAX);
        assert_eq!(last.after(Duration::from_secs(1)), last);
        assert_eq!(last.until(first), Duration::ZERO);
    }
}
