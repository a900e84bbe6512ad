//! What came of calls while a provider was harmed.

use std::time::Duration;

use anyhow::{Context, ensure};
use macula_core::NodeId;
use macula_rpc::{Attempt, AttemptOutcome};
use macula_transport::EndpointConfig;
use tokio::time::Instant;

use super::Accident;

/// What callers noticed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aftermath {
    /// Calls without a result.
    pub failed: u32,
    /// Calls that took more than one attempt.
    pub delayed: u32,
    /// Attempts at who was harmed that came to nothing.
    pub in_vain: u32,
    /// Attempts at who was harmed that began when every caller may know.
    pub late_attempts: u32,
    /// The longest that a call took.
    pub worst: Duration,
    /// How long the first attempt of a call may take.
    pub attempt_timeout: Duration,
    /// The longest that an attempt took while all was well.
    pub round_trip: Duration,
    /// What 99 % of the calls took no longer than, of those that began while all was well.
    pub p99_before: Duration,
    /// The same of those that began after that.
    pub p99_after: Duration,
}

/// All that was seen.
pub(super) struct Scene {
    pub(super) victim: NodeId,
    pub(super) harmed_at: Instant,
    pub(super) made: Vec<Made>,
}

/// A call, and how it went.
pub(super) struct Made {
    pub(super) started: Instant,
    pub(super) took: Duration,
    pub(super) succeeded: bool,
    pub(super) attempts: Vec<Attempt>,
}

impl Aftermath {
    /// Reads it off what was seen.
    ///
    /// # Errors
    /// When nobody noticed anything, or the one who was harmed had little to do before.
    pub(super) fn of(accident: Accident, scene: &Scene) -> anyhow::Result<Self> {
        let (before, after) = scene.halves();
        ensure!(!before.is_empty() && !after.is_empty(), "too few calls");
        let at_victim = |call: &&&Made| call.attempts.iter().any(|at| scene.is_at_victim(at));
        let share = before.iter().filter(at_victim).count() as f64 / before.len() as f64;
        ensure!(
            share > LEAST_SHARE,
            "{share} of the calls went to the victim"
        );
        let mut aftermath = Self {
            failed: 0,
            delayed: 0,
            in_vain: 0,
            late_attempts: 0,
            worst: Duration::ZERO,
            attempt_timeout: accident.timeout / u32::from(accident.max_attempts.get()),
            round_trip: longest_attempt(&before).context("no call was answered")?,
            p99_before: p99(&before),
            p99_after: p99(&after),
        };
        for call in &scene.made {
            aftermath.count(call, scene);
        }
        ensure!(aftermath.in_vain > 0, "nobody noticed anything");
        Ok(aftermath)
    }

    fn count(&mut self, call: &Made, scene: &Scene) {
        self.failed += u32::from(!call.succeeded);
        self.delayed += u32::from(call.attempts.len() > 1);
        self.worst = self.worst.max(call.took);
        let known_at = scene.harmed_at + EndpointConfig::default().liveness_bound();
        let mut begins = call.started;
        for attempt in &call.attempts {
            if scene.is_at_victim(attempt) {
                self.in_vain += u32::from(attempt.outcome != AttemptOutcome::Answered);
                self.late_attempts += u32::from(begins > known_at);
            }
            begins += attempt.elapsed;
        }
    }
}

impl Scene {
    /// The calls that were over when the harm was done, and those that began later.
    fn halves(&self) -> (Vec<&Made>, Vec<&Made>) {
        let calls = || self.made.iter();
        let before = calls().filter(|call| call.started + call.took < self.harmed_at);
        let after = calls().filter(|call| call.started >= self.harmed_at);
        (before.collect(), after.collect())
    }

    fn is_at_victim(&self, attempt: &Attempt) -> bool {
        attempt.provider == self.victim
    }
}

fn longest_attempt(calls: &[&Made]) -> Option<Duration> {
    let attempts = calls.iter().flat_map(|call| &call.attempts);
    attempts.map(|attempt| attempt.elapsed).max()
}

fn p99(calls: &[&Made]) -> Duration {
    let mut took: Vec<Duration> = calls.iter().map(|call| call.took).collect();
    took.sort();
    took[took.len() * 99 / 100]
}

/// Of three providers each gets a third of the calls, more or less: less for a while where one
/// answer was slow, by the square of how slow it was.
const LEAST_SHARE: f64 = 0.02;
