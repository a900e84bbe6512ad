//! How many calls the discovery cache answers, and how often it asks a network of simulated
//! machines for that.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, ensure};
use macula_core::Key;
use macula_sim::Churn;

use crate::area::{measured_once, on_paused_clock};
use crate::figure::Unit;
use crate::fixture::NetworkSearch;
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

mod caller;

use caller::Caller;

pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "hits, fresh and stale, of Zipf(0.9) calls, 1000/s of 10,000 names, 1000 machines",
        unit: Unit::Share,
        goal: Goal::AtLeast(0.99),
        clock: Clock::Virtual,
        run: rate,
    },
    Measurement {
        name: "the same: lookups of a name that has providers in any minute, the most",
        unit: Unit::Count,
        goal: Goal::AtMost(1.0),
        clock: Clock::Virtual,
        run: most_lookups,
    },
    Measurement {
        name: "the same at 10,000 calls/s",
        unit: Unit::Count,
        goal: Goal::AtMost(1.0),
        clock: Clock::Virtual,
        run: most_lookups_crowded,
    },
    Measurement {
        name: "the same at both rates: dead providers that calls removed from the cache",
        unit: Unit::Count,
        goal: Goal::None,
        clock: Clock::Virtual,
        run: removed,
    },
];

/// Calls of names by a Zipf distribution, at one node of a mesh whose nodes come and go.
///
/// The node calls as macula-rpc does: a provider that is dead when called, or serves the name no
/// more, is removed from the cache, and when none is left the name is looked up again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZipfCalls {
    /// Machines in the mesh besides the caller's.
    pub nodes: usize,
    /// Names, each provided by three of them.
    pub names: u32,
    /// Seconds of calls before anything is counted: each name's first call has to miss.
    pub warm_up: u32,
    /// Seconds of calls that are counted, 1,000 in each.
    pub counted: u32,
    /// Seconds after that with ten times as many calls.
    pub crowded: u32,
    /// How long nodes stay.
    pub churn: Churn,
}

/// What was counted of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Calls after the warm-up of names that had a provider.
    pub calls: u64,
    /// Those answered from the cache, fresh or stale, by a provider that serves the call.
    pub hits: u64,
    /// The most lookups in any minute of one name that had a provider.
    pub most_lookups: u64,
    /// The same while ten times as many calls were made.
    pub most_lookups_crowded: u64,
    /// Providers that were removed from the cache because a call found that they are gone.
    pub removed: u64,
}

impl ZipfCalls {
    fn short() -> Self {
        Self {
            nodes: 999,
            names: 10_000,
            warm_up: 120,
            counted: 300,
            crowded: 120,
            // As they were measured to in public networks.
            churn: Churn::default(),
        }
    }

    fn full() -> Self {
        Self {
            warm_up: 600,
            counted: 1_800,
            crowded: 600,
            ..Self::short()
        }
    }
}

fn rate(session: &Session) -> anyhow::Result<Estimate> {
    let counted = counted(session)?;
    Estimate::of_share(counted.hits, counted.calls).context("no call was counted")
}

fn most_lookups(session: &Session) -> anyhow::Result<Estimate> {
    some(counted(session)?.most_lookups)
}

fn most_lookups_crowded(session: &Session) -> anyhow::Result<Estimate> {
    some(counted(session)?.most_lookups_crowded)
}

fn removed(session: &Session) -> anyhow::Result<Estimate> {
    count(counted(session)?.removed)
}

/// A mesh in which no search was noted would reach every goal.
fn some(lookups: u64) -> anyhow::Result<Estimate> {
    ensure!(lookups > 0, "no search was noted");
    count(lookups)
}

fn count(number: u64) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(f64::from(u32::try_from(number)?)))
}

fn counted(session: &Session) -> anyhow::Result<&'static Counted> {
    static COUNTED: OnceLock<Counted> = OnceLock::new();
    let calls = if session.is_full() {
        ZipfCalls::full()
    } else {
        ZipfCalls::short()
    };
    measured_once(&COUNTED, || calls.play())
}

/// The same among a hundred nodes, for a bench that is run again and again.
///
/// # Errors
/// As [`ZipfCalls::play`].
pub fn zipf_hits(names: u32, warm_up_seconds: u32, seconds: u32) -> anyhow::Result<Counted> {
    let calls = ZipfCalls {
        nodes: 99,
        names,
        warm_up: warm_up_seconds,
        counted: seconds,
        crowded: 0,
        churn: Churn::default(),
    };
    calls.play()
}

impl ZipfCalls {
    /// Makes the calls in virtual time; equal numbers count equal hits.
    ///
    /// # Errors
    /// When no mesh can be made of the numbers.
    pub fn play(&self) -> anyhow::Result<Counted> {
        on_paused_clock(async {
            let mut caller = Caller::start(self).await?;
            caller.call(self.warm_up, 1).await?;
            caller.take_tally();
            caller.call(self.counted, 1).await?;
            let tally = caller.take_tally();
            let most_lookups = most_in_a_minute(&caller.take_searches());
            caller.call(self.crowded, CROWDED).await?;
            Ok(Counted {
                calls: tally.calls,
                hits: tally.hits,
                most_lookups,
                most_lookups_crowded: most_in_a_minute(&caller.take_searches()),
                removed: caller.removed(),
            })
        })
    }
}

/// The most searches for any key with providers that began within a minute of one another.
fn most_in_a_minute(searches: &[NetworkSearch]) -> u64 {
    let mut times: BTreeMap<Key, Vec<Duration>> = BTreeMap::new();
    for search in searches.iter().filter(|search| search.is_provided) {
        times.entry(search.key).or_default().push(search.at);
    }
    let most = times
        .values()
        .filter_map(|times| most_within(MINUTE, times));
    most.max().unwrap_or(0)
}

/// The most of these times, in order, in any window of so long, its end not included.
fn most_within(window: Duration, times: &[Duration]) -> Option<u64> {
    let in_window = times.iter().enumerate().map(|(first, begin)| {
        let end = times.partition_point(|at| *at < *begin + window);
        u64::try_from(end - first).unwrap_or(u64::MAX)
    });
    in_window.max()
}

/// Calls a tick when there are more than one.
const CROWDED: u32 = 10;

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> ZipfCalls {
        ZipfCalls {
            nodes: 60,
            names: 50,
            warm_up: 5,
            counted: 70,
            crowded: 20,
            ..ZipfCalls::short()
        }
    }

    #[test]
    fn equal_seeds_count_equal_hits() {
        let one = small().play().unwrap();
        assert_eq!(one, small().play().unwrap());
        assert_eq!(one.calls, 70_000);
        assert!(one.hits > 69_900, "{one:?}");
        assert!(one.most_lookups > 0, "{one:?}");
    }

    #[test]
    fn providers_that_are_gone_are_no_hits_and_are_removed() {
        let brief = ZipfCalls {
            churn: Churn::with_median(Duration::from_secs(60)),
            counted: 200,
            ..small()
        };
        let counted = brief.play().unwrap();
        assert!(counted.removed > 50, "{counted:?}");
        assert!(counted.hits < counted.calls, "{counted:?}");
        assert!(counted.hits * 100 > counted.calls * 99, "{counted:?}");
    }

    #[test]
    fn windows_include_their_beginning_and_not_their_end() {
        let times = [0, 10, 59, 60, 69, 200].map(Duration::from_secs);
        assert_eq!(most_within(MINUTE, &times), Some(4));
        assert_eq!(most_within(MINUTE, &times[..2]), Some(2));
        assert_eq!(most_within(MINUTE, &[]), None);
        assert_eq!(most_within(Duration::from_secs(1), &times), Some(1));
    }
}
