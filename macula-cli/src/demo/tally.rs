//! What the calls of the demonstration came to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use macula_client::{CallError, NodeId, Reply, Source};
use serde::Serialize;

use crate::exit::{Class, Failure};
use crate::output::{Took, place};

/// Counts calls as they end.
pub(crate) struct Tally {
    calls: u32,
    failovers: u32,
    found_in: BTreeMap<Source, u32>,
    /// Every provider, in the order of the columns.
    answered_by: Vec<(NodeId, u32)>,
    killed: Option<(NodeId, u32)>,
    failures: Vec<String>,
    latencies: Histogram<u64>,
}

impl Tally {
    /// Nothing counted yet, with a column for each provider.
    pub(crate) fn new(providers: impl IntoIterator<Item = NodeId>) -> Result<Self, Failure> {
        // From a microsecond to a minute, to three digits: 250 KiB whatever the number of calls.
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3)
            .map_err(|error| Failure::of(Class::Unexpected, &error))?;
        Ok(Self {
            calls: 0,
            failovers: 0,
            found_in: BTreeMap::new(),
            answered_by: providers.into_iter().map(|node| (node, 0)).collect(),
            killed: None,
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
        let mut columns = self.answered_by.iter_mut();
        match columns.find(|(node, _)| *node == reply.provider) {
            Some((_, calls)) => *calls += 1,
            None => self.answered_by.push((reply.provider, 1)),
        }
        self.failovers += u32::from(reply.attempts.len() > 1);
        *self.found_in.entry(reply.source).or_default() += 1;
        let micros = u64::try_from(reply.elapsed.as_micros()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(micros);
    }

    /// Notes that a provider is gone.
    pub(crate) fn killed(&mut self, node: NodeId) {
        self.killed = Some((node, self.calls));
    }

    pub(crate) fn facts(&self) -> Facts {
        let answered = self.answered_by.iter().filter(|(_, calls)| *calls > 0);
        Facts {
            calls: self.calls,
            failed: self.failed(),
            failovers: self.failovers,
            providers: answered
                .map(|(node, calls)| (node.to_string(), *calls))
                .collect(),
            cache_hit_rate: f64::from(self.cached()) / f64::from(self.calls.max(1)),
            p50_us: self.latencies.value_at_quantile(0.5),
            p99_us: self.latencies.value_at_quantile(0.99),
        }
    }

    fn cached(&self) -> u32 {
        let cached = [Source::Fresh, Source::Stale];
        cached.iter().filter_map(|s| self.found_in.get(s)).sum()
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

/// For people.
impl Tally {
    /// What the columns of [`row`](Self::row) are.
    pub(crate) fn heading(&self) -> String {
        let mut line = format!("  {:>7}  {:>6}  {:>11}", "calls", "failed", "failed over");
        for (node, _) in &self.answered_by {
            let _ = write!(line, "  {:>10}", node.short());
        }
        line + &format!("  {:>8}", "median")
    }

    /// How far it is: so many calls, of which so many failed and failed over, so many answered by
    /// each provider, and how long half of them took at most.
    pub(crate) fn row(&self) -> String {
        let (calls, failed, failovers) = (self.calls, self.failed(), self.failovers);
        let mut line = format!("  {calls:>7}  {failed:>6}  {failovers:>11}");
        for (_, calls) in &self.answered_by {
            let _ = write!(line, "  {calls:>10}");
        }
        line + &format!("  {:>8}", self.took(0.5))
    }

    /// What the run came to.
    pub(crate) fn summary(&self) -> String {
        let failed = match self.failed() {
            0 => "none".to_owned(),
            failed => failed.to_string(),
        };
        let mut text = format!("\n{} calls, {failed} failed\n", self.calls);
        let places = self
            .found_in
            .iter()
            .fold(BTreeMap::new(), |mut all, (s, n)| {
                *all.entry(place(*s)).or_insert(0) += n;
                all
            });
        let places = places
            .iter()
            .map(|(place, calls)| format!("{place} {calls}"));
        let answered = self.answered_by.iter();
        let answered = answered.map(|(node, calls)| format!("{} {calls}", node.short()));
        let _ = writeln!(text, "  found in     {}", listed(places));
        let _ = writeln!(text, "  answered by  {}", listed(answered));
        if let Some((node, after)) = self.killed {
            let _ = writeln!(
                text,
                "  failed over  {}, when {} was killed after {after}",
                self.failovers,
                node.short()
            );
        }
        let (half, most) = (self.took(0.5), self.took(0.99));
        let _ = write!(text, "  took         median {half}, 99th percentile {most}");
        text
    }

    fn took(&self, quantile: f64) -> Took {
        Took(Duration::from_micros(
            self.latencies.value_at_quantile(quantile),
        ))
    }
}

fn listed(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// What the run came to, for programs.
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
