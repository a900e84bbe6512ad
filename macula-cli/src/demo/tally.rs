//! What the calls of the demonstration came to.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use macula_client::{CallError, NodeId, Reply, Source};
use serde::Serialize;

use crate::exit::{Class, Failure};

/// Counts calls as they end.
pub(crate) struct Tally {
    calls: u32,
    failovers: u32,
    cached: u32,
    answered_by: BTreeMap<NodeId, u32>,
    failures: Vec<String>,
    latencies: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, Failure> {
        // From a microsecond to a minute, to three digits: 250 KiB whatever the number of calls.
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3)
            .map_err(|error| Failure::of(Class::Unexpected, &error))?;
        Ok(Self {
            calls: 0,
            failovers: 0,
            cached: 0,
            answered_by: BTreeMap::new(),
            failures: Vec::new(),
            latencies,
        })
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls
    }

    pub(crate) fn count(&mut self, outcome: Result<Reply, CallError>) {
        self.calls += 1;
        match outcome {
            Ok(reply) => self.count_reply(&reply),
            Err(error) => self.failures.push(Failure::from(error).message),
        }
    }

    fn count_reply(&mut self, reply: &Reply) {
        *self.answered_by.entry(reply.provider).or_default() += 1;
        self.failovers += u32::from(reply.attempts.len() > 1);
        self.cached += u32::from(matches!(reply.source, Source::Fresh | Source::Stale));
        let micros = u64::try_from(reply.elapsed.as_micros()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(micros);
    }

    pub(crate) fn facts(&self) -> Facts {
        let providers = self.answered_by.iter();
        Facts {
            calls: self.calls,
            failed: self.failed(),
            failovers: self.failovers,
            providers: providers
                .map(|(node, calls)| (node.to_string(), *calls))
                .collect(),
            cache_hit_rate: f64::from(self.cached) / f64::from(self.calls.max(1)),
            p50_us: self.latencies.value_at_quantile(0.5),
            p99_us: self.latencies.value_at_quantile(0.99),
        }
    }

    fn failed(&self) -> u32 {
        u32::try_from(self.failures.len()).unwrap_or(u32::MAX)
    }

    /// The demonstration has failed if any call has.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        match self.failures.first() {
            None => Ok(()),
            Some(first) => Err(Failure {
                class: Class::Network,
                message: format!(
                    "{} calls failed, the first one: {first}",
                    self.failures.len()
                ),
            }),
        }
    }
}

/// How far it is, in one line.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} calls, {} failed, {} failed over;",
            self.calls,
            self.failed(),
            self.failovers
        )?;
        for (node, calls) in &self.answered_by {
            write!(f, "  {} {calls}", node.short())?;
        }
        Ok(())
    }
}

/// What the run came to.
#[derive(Serialize)]
pub(crate) struct Facts {
    calls: u32,
    failed: u32,
    /// Calls that were answered by another provider than the first one tried.
    failovers: u32,
    /// How many calls each provider answered.
    providers: BTreeMap<String, u32>,
    cache_hit_rate: f64,
    p50_us: u64,
    p99_us: u64,
}

impl Facts {
    pub(crate) fn to_text(&self) -> String {
        format!(
            "\n{} calls, {} failed, {} failed over to another provider\n\
             providers found in the cache for {:.1} % of the calls\n\
             half of the calls took at most {} µs, 99 of 100 at most {} µs",
            self.calls,
            self.failed,
            self.failovers,
            self.cache_hit_rate * 100.0,
            self.p50_us,
            self.p99_us,
        )
    }
}
