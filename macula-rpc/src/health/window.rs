//! Outcomes of the last ten seconds, counted by the second.

use tokio::time::Instant;

/// How many seconds are counted.
const SECONDS: usize = 10;

/// Successes and failures of the last seconds. Takes no more memory however many there are.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: [Slot; SECONDS],
    /// When the newest slot began; none before the first outcome.
    newest: Option<(Instant, usize)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    succeeded: u32,
    failed: u32,
}

impl Window {
    pub(super) fn count(&mut self, now: Instant, succeeded: bool) {
        let at = self.turn_to(now);
        let slot = &mut self.slots[at];
        let counter = match succeeded {
            true => &mut slot.succeeded,
            false => &mut slot.failed,
        };
        *counter = counter.saturating_add(1);
    }

    /// How many succeeded and failed.
    pub(super) fn counts(&self, now: Instant) -> (u32, u32) {
        let Some((began, _)) = self.newest else {
            return (0, 0);
        };
        let past = seconds_between(began, now);
        if past >= SECONDS {
            return (0, 0);
        }
        let (mut succeeded, mut failed) = (0_u32, 0_u32);
        for age in 0..SECONDS - past {
            let slot = self.slots[self.slot_of_age(age)];
            succeeded = succeeded.saturating_add(slot.succeeded);
            failed = failed.saturating_add(slot.failed);
        }
        (succeeded, failed)
    }

    /// The slot of this second, after emptying those of the seconds without any outcome.
    fn turn_to(&mut self, now: Instant) -> usize {
        let (began, at) = *self.newest.get_or_insert((now, 0));
        let past = seconds_between(began, now);
        for step in 1..=past.min(SECONDS) {
            self.slots[(at + step) % SECONDS] = Slot::default();
        }
        let at = (at + past) % SECONDS;
        if past > 0 {
            let began = match past < SECONDS {
                true => began + std::time::Duration::from_secs(past as u64),
                false => now,
            };
            self.newest = Some((began, at));
        }
        at
    }

    fn slot_of_age(&self, age: usize) -> usize {
        let at = self.newest.map_or(0, |(_, at)| at);
        (at + SECONDS - age) % SECONDS
    }
}

fn seconds_between(earlier: Instant, later: Instant) -> usize {
    let seconds = later.saturating_duration_since(earlier).as_secs();
    usize::try_from(seconds).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_what_happened_in_the_last_ten_seconds(
            steps in prop::collection::vec((0_u64..4_000, any::<bool>()), 1..200),
        ) {
            let start = Instant::now();
            let (mut now, mut window, mut all) = (start, Window::default(), Vec::new());
            for (millis, succeeded) in steps {
                now += Duration::from_millis(millis);
                window.count(now, succeeded);
                all.push((now, succeeded));
                let (succeeded, failed) = window.counts(now);
                let counted = (succeeded + failed) as usize;
                // Slots are whole seconds: what is nine seconds old counts, what is ten does not.
                let within = |secs| {
                    let age = |at: &Instant| now.duration_since(*at);
                    all.iter().filter(|(at, _)| age(at) < Duration::from_secs(secs)).count()
                };
                prop_assert!(within(9) <= counted && counted <= within(10));
            }
        }
    }

    #[test]
    fn silence_empties_it() {
        let now = Instant::now();
        let mut window = Window::default();
        window.count(now, true);
        assert_eq!(window.counts(now + Duration::from_secs(9)), (1, 0));
        assert_eq!(window.counts(now + Duration::from_secs(10)), (0, 0));
        window.count(now + Duration::from_secs(5_000_000), false);
        assert_eq!(window.counts(now + Duration::from_secs(5_000_000)), (0, 1));
    }
}
