//! What is known of one provider from the attempts at it. Pure: `now` is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::ProviderHealth;
use super::breaker::{Admission, Breaker, BreakerState};

/// Latency, failures and what is under way.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    latency: Fading,
    failing: Fading,
    breaker: Breaker,
    /// In the order of their numbers, and so of their beginnings.
    in_flight: VecDeque<(u64, Instant)>,
    last_used: Option<Instant>,
}

/// What became of an attempt, as far as its provider's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It answered with a result.
    Well,
    /// It answered with an error of its own, which may have been quicker than any result.
    Alive,
    /// It did not answer, broke on the call, or has too much to do.
    Ill,
    /// Nothing can be told: the attempt was given up, or failed on this side.
    Unknown,
}

impl Vitals {
    /// Notes an attempt that begins. Unless it is `forced`, the breaker has to admit it.
    pub(super) fn begin(&mut self, now: Instant, number: u64, forced: bool) -> Option<Admission> {
        let admission = match (self.breaker.admit(now), forced) {
            (Some(admission), _) => admission,
            (None, true) => Admission::Forced,
            (None, false) => return None,
        };
        self.in_flight.push_back((number, now));
        self.last_used = Some(now);
        Some(admission)
    }

    /// Notes the end of an attempt; answers how long it took.
    pub(super) fn end(&mut self, now: Instant, number: u64) -> Option<Duration> {
        let began = self.take_under_way(number)?;
        self.last_used = Some(now);
        Some(now.saturating_duration_since(began))
    }

    /// Takes out when an attempt began. Most answers come in the order of their requests.
    fn take_under_way(&mut self, number: u64) -> Option<Instant> {
        let is_first = self.in_flight.front().is_some_and(|(it, _)| *it == number);
        let at = match is_first {
            true => 0,
            false => self
                .in_flight
                .binary_search_by_key(&number, |(number, _)| *number)
                .ok()?,
        };
        self.in_flight.remove(at).map(|(_, began)| began)
    }

    /// Draws conclusions from an attempt that has ended, and from how long it took if that counts.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        admission: Admission,
        condition: Condition,
        latency: Option<Duration>,
    ) {
        if let Some(latency) = latency.map(|latency| latency.as_secs_f64()) {
            match condition {
                Condition::Well => self.latency.peak(now, latency),
                // A result would have taken as long, or longer.
                _ => self.latency.at_least(now, latency),
            }
        }
        match condition {
            Condition::Well | Condition::Alive => {
                self.failing.add(now, 0.0);
                self.breaker.succeeded(now, admission);
            }
            Condition::Ill => {
                self.failing.add(now, 1.0);
                self.breaker.failed(now, admission);
            }
            Condition::Unknown => self.breaker.said_nothing(admission),
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.in_flight.is_empty()
    }

    pub(super) fn is_idle(&self, now: Instant, since: Duration) -> bool {
        let used = |at| now.saturating_duration_since(at) < since;
        !self.is_under_way() && !self.last_used.is_some_and(used)
    }

    /// When an attempt last began or ended.
    pub(super) fn last_used(&self) -> Option<Instant> {
        self.last_used
    }

    pub(super) fn breaker(&self, now: Instant) -> BreakerState {
        self.breaker.state(now)
    }

    /// What is known of it now, to a call that may run only once or to any other.
    pub(super) fn snapshot(&self, now: Instant, at_most_once: bool) -> ProviderHealth {
        let oldest = self.in_flight.front();
        ProviderHealth {
            latency: self.latency.at(now).map(Duration::from_secs_f64),
            failing: self.failing.at(now).unwrap_or(0.0),
            in_flight: self.in_flight.len(),
            waiting: oldest.map(|(_, began)| now.saturating_duration_since(*began)),
            breaker: match at_most_once {
                true => self.breaker.state_for_once(now),
                false => self.breaker.state(now),
            },
        }
    }
}

/// A mean in which what is older counts exponentially less, and that fades while nothing is added.
///
/// That it fades is what brings traffic back: a provider that was slow or failed gets another
/// chance without anybody deciding so.
#[derive(Debug, Default)]
struct Fading {
    value: f64,
    at: Option<Instant>,
}

impl Fading {
    /// Adds a sample; the longer since the last one, the more it counts.
    fn add(&mut self, now: Instant, sample: f64) {
        if self.value == sample {
            self.at = Some(now);
            return;
        }
        let kept = self.at.map_or(1.0, |at| weight(at, now));
        // In a burst of samples each still moves the mean.
        let kept = kept.min(1.0 - LEAST_SHARE);
        self.value = self.value * kept + sample * (1.0 - kept);
        self.at = Some(now);
    }

    /// Adds a sample that counts in full if it is the greater: slowness is believed at once, though
    /// one sample alone makes nothing more than [`GREATEST_STEP`] times as slow as it was.
    fn peak(&mut self, now: Instant, sample: f64) {
        let Some(faded) = self.at(now) else {
            (self.value, self.at) = (sample, Some(now));
            return;
        };
        if sample <= faded {
            self.add(now, sample);
        } else {
            let most = (self.value * GREATEST_STEP).max(LEAST_PEAK);
            (self.value, self.at) = (sample.min(most), Some(now));
        }
    }

    /// Adds a sample of which only a lower bound is known.
    fn at_least(&mut self, now: Instant, bound: f64) {
        if self.at(now).is_some_and(|faded| bound > faded) {
            self.peak(now, bound);
        }
    }

    fn at(&self, now: Instant) -> Option<f64> {
        // Nothing stays nothing: most providers never fail.
        let faded = |at| match self.value == 0.0 {
            true => 0.0,
            false => self.value * weight(at, now),
        };
        self.at.map(faded)
    }
}

/// How much of what was known at `then` still counts.
fn weight(then: Instant, now: Instant) -> f64 {
    let age = now.saturating_duration_since(then).as_secs_f64() / DECAY.as_secs_f64();
    match age < NO_AGE {
        // As good as the exponential so close to zero, and several times quicker.
        true => 1.0 - age,
        false => (-age).exp(),
    }
}

/// In this time what is known of a provider counts for a third of what it did.
pub(crate) const DECAY: Duration = Duration::from_secs(10);

/// In parts of [`DECAY`]: what is younger is as good as new.
const NO_AGE: f64 = 0.001;

/// How much slower one answer can make a provider look.
const GREATEST_STEP: f64 = 20.0;

/// In seconds: what is quicker is not told apart from what does not take any time.
const LEAST_PEAK: f64 = 0.001;

/// The least that a new sample counts for.
const LEAST_SHARE: f64 = 0.1;
