//! What came of a scenario, for programs and for people.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::Traffic;

/// What came of a [`Scenario`](crate::Scenario). Equal scenarios give equal reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Where all randomness came from.
    pub seed: u64,
    /// Nodes in the beginning.
    pub nodes: usize,
    /// Nodes killed.
    pub killed: usize,
    /// Virtual time that passed, in milliseconds.
    pub virtual_millis: u64,
    /// Events played.
    pub events: u64,
    /// A hash over all of them, in hexadecimal.
    pub trace_hash: String,
    /// Messages.
    pub traffic: Traffic,
    /// How the network came together.
    pub join: JoinFigures,
    /// How the announcements went.
    pub announce: AnnounceFigures,
    /// How the finds went, phase by phase.
    pub finds: Vec<FindFigures>,
    /// How the withdrawals went.
    pub withdraw: WithdrawFigures,
}

/// How a network came together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct JoinFigures {
    /// Contacts per node.
    pub contacts: Spread,
    /// Nodes without any contact.
    pub alone: usize,
}

/// How announcements went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct AnnounceFigures {
    /// Records to be announced.
    pub records: usize,
    /// Those whose announcement succeeded.
    pub announced: usize,
    /// Acknowledgements per record when its announcement returned.
    pub holders: Spread,
    /// Milliseconds until it did.
    pub millis: Spread,
}

/// How the finds of one phase went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FindFigures {
    /// When they were started.
    pub phase: &'static str,
    /// Finds started.
    pub finds: usize,
    /// Those that found the provider.
    pub found: usize,
    /// Those that said there is none.
    pub absent: usize,
    /// Those that could not tell.
    pub inconclusive: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that found somebody who never announced it: none, unless the network lies.
    pub invented: usize,
    /// Those that did not end by their deadline: none, unless a lookup hangs.
    pub unfinished: usize,
    /// The share that found the provider.
    pub success_ratio: f64,
    /// Requests per find.
    pub requests: Spread,
    /// Hops to the first provider, of those that found it.
    pub hops: Spread,
    /// Milliseconds per find.
    pub millis: Spread,
}

/// How withdrawals went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct WithdrawFigures {
    /// Records withdrawn.
    pub withdrawn: usize,
    /// Acknowledgements.
    pub acknowledged: usize,
    /// Finds of withdrawn records afterwards.
    pub finds: usize,
    /// Those that still found the provider.
    pub still_found: usize,
}

/// How a number is spread over many cases; zeros when there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: u64,
    /// 95 % are not greater.
    pub p95: u64,
    /// 99 % are not greater.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
}

impl Spread {
    pub(crate) fn of(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        let Some(&max) = numbers.last() else {
            return Self::default();
        };
        let percentile = |percent: usize| {
            let rank = (numbers.len() * percent).div_ceil(100);
            numbers[rank.saturating_sub(1)]
        };
        Self {
            mean: numbers.iter().sum::<u64>() as f64 / numbers.len() as f64,
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max,
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, seed, .. } = self;
        let seconds = self.virtual_millis / 1000;
        writeln!(f, "{nodes} nodes, seed {seed}, {seconds} s of virtual time")?;
        let traffic = &self.traffic;
        writeln!(
            f,
            "{} events, {} requests, {} answers, {} lost, {} to the dead",
            self.events, traffic.requests, traffic.responses, traffic.lost, traffic.to_the_dead
        )?;
        let join = &self.join;
        writeln!(
            f,
            "join       contacts {}, {} alone",
            join.contacts, join.alone
        )?;
        let announce = &self.announce;
        writeln!(
            f,
            "announce   {} of {} records, holders {}, ms {}",
            announce.announced, announce.records, announce.holders, announce.millis
        )?;
        for finds in &self.finds {
            finds.fmt(f)?;
        }
        let withdraw = &self.withdraw;
        writeln!(
            f,
            "withdraw   {} records, {} acknowledgements; {} of {} finds still see the provider",
            withdraw.withdrawn, withdraw.acknowledged, withdraw.still_found, withdraw.finds
        )?;
        write!(f, "trace      {}", self.trace_hash)
    }
}

impl fmt::Display for FindFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "find       {}: {} of {} found ({:.2} %), {} absent, {} inconclusive, {} failed, \
             {} invented, {} unfinished",
            self.phase,
            self.found,
            self.finds,
            self.success_ratio * 100.0,
            self.absent,
            self.inconclusive,
            self.failed,
            self.invented,
            self.unfinished
        )?;
        writeln!(
            f,
            "           requests {}, hops {}, ms {}",
            self.requests, self.hops, self.millis
        )
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            mean,
            p50,
            p99,
            max,
            ..
        } = self;
        write!(f, "{mean:.1} (p50 {p50}, p99 {p99}, max {max})")
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let spread = Spread::of((1..=200).rev().collect());
        let expected = Spread {
            mean: 100.5,
            p50: 100,
            p95: 190,
            p99: 198,
            max: 200,
        };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(vec![7]).p99, 7);
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }
}
