//! How long a peer takes to answer, in four bytes.

use std::num::NonZeroU32;
use std::time::Duration;

/// The round trips to one peer, smoothed as TCP does it (RFC 6298 §2), in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SmoothedRtt(Option<NonZeroU32>);

impl SmoothedRtt {
    /// Takes another measurement.
    pub(super) fn record(&mut self, measured: Duration) {
        let measured = u64::try_from(measured.as_micros()).unwrap_or(u64::MAX);
        let measured = measured.min(u64::from(u32::MAX));
        let smoothed = self.0.map_or(measured, |smoothed| {
            (u64::from(smoothed.get()) * (WEIGHT - 1) + measured) / WEIGHT
        });
        let smoothed = u32::try_from(smoothed).unwrap_or(u32::MAX);
        self.0 = Some(NonZeroU32::new(smoothed).unwrap_or(NonZeroU32::MIN));
    }

    /// The estimate, if anything was measured.
    pub(super) fn estimate(self) -> Option<Duration> {
        let micros = self.0?.get();
        Some(Duration::from_micros(micros.into()))
    }

    /// Lower is faster; whoever was not measured comes last.
    pub(super) fn rank(self) -> u32 {
        self.0.map_or(u32::MAX, NonZeroU32::get)
    }
}

/// A new measurement counts one part in so many.
const WEIGHT: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_begins_with_the_first_measurement_and_follows_the_others_slowly() {
        let mut rtt = SmoothedRtt::default();
        assert_eq!((rtt.estimate(), rtt.rank()), (None, u32::MAX));
        rtt.record(Duration::from_millis(80));
        assert_eq!(rtt.estimate(), Some(Duration::from_millis(80)));
        rtt.record(Duration::from_millis(160));
        assert_eq!(rtt.estimate(), Some(Duration::from_millis(90)));
        for _ in 0..100 {
            rtt.record(Duration::from_millis(160));
        }
        let estimate = rtt.estimate().unwrap();
        assert!(estimate > Duration::from_micros(159_900));
    }

    #[test]
    fn measurements_that_four_bytes_cannot_hold_are_brought_into_range() {
        let mut rtt = SmoothedRtt::default();
        rtt.record(Duration::ZERO);
        assert_eq!(rtt.estimate(), Some(Duration::from_micros(1)));
        let mut rtt = SmoothedRtt::default();
        rtt.record(Duration::MAX);
        assert_eq!(rtt.rank(), u32::MAX);
    }
}
