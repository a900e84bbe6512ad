//! `macula sim`: will lookups hold in a network of so many nodes?

use std::num::NonZeroU64;
use std::time::Duration;

use macula_sim::{
    Faults, Join, Lies, Partition, Population, Progress, Report, Scenario, SimError, Success,
};
use serde::Serialize;

mod bar;
mod parse;

use crate::exit::{Class, Failure};
use crate::output::Output;
use bar::Bar;
use parse::{Sessions, Want};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many nodes the network has
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: u32,
    /// How long nodes stay before they vanish and others come: half of them for less than this,
    /// like 30m; `none` when all stay; or weibull:SHAPE,SCALE, like weibull:0.61,3.66h
    #[arg(long, value_name = "MEDIAN", default_value = "2h", value_parser = parse::sessions)]
    churn: Sessions,
    /// The virtual time that the network is watched for, like 10m
    #[arg(long, default_value = "10m", value_parser = parse::duration)]
    duration: Duration,
    /// How many services are announced, each by one node, and refreshed
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    records: u32,
    /// How many times somebody looks for one of them
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    finds: u32,
    /// How long the records live
    #[arg(long, default_value = "300s", value_parser = parse::duration)]
    ttl: Duration,
    /// How many providers each find wants before it stops asking; `all` to ask to the end
    #[arg(long, default_value = "1", value_parser = parse::want)]
    want: Want,
    #[command(flatten)]
    trouble: Trouble,
    /// Let every node join by the network's own means, rather than filling routing tables at once
    #[arg(long)]
    real_joins: bool,
    /// Where all randomness comes from: the same seed gives the same run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The share of finds that has to succeed, 0 to 1
    #[arg(long, default_value_t = 0.99)]
    goal: f64,
}

/// What goes wrong; the shares are from 0 to 1.
#[derive(clap::Args)]
struct Trouble {
    /// The share of messages that are lost
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    loss: f64,
    /// The share of contacts in the first routing tables that are dead
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    dead_contacts: f64,
    /// The share of nodes that lie about contacts and about what they hold
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    liars: f64,
    /// The share of nodes that only ask and serve nobody
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    clients: f64,
    /// The share of nodes that ask, and that nobody can reach
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    unreachable: f64,
    /// The share of nodes that are killed at one instant, in the middle of the time
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    kill: f64,
    /// Split the network into halves for so long, after a third of the time
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    partition: Option<Duration>,
}

/// What is printed.
#[derive(Serialize)]
struct Answer {
    verdict: Verdict,
    goal: f64,
    #[serde(flatten)]
    report: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// So many finds succeed, and that is no luck.
    Hold,
    /// So many finds succeed, but too few were made to be sure.
    ProbablyHold,
    DoNotHold,
}

pub(crate) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    if !(0.0..=1.0).contains(&args.goal) {
        return Err(Failure::usage("--goal is not between 0 and 1"));
    }
    let bar = Bar::new();
    let progress = |progress: Progress| bar.show(progress);
    let report = scenario(args).run_with(progress);
    bar.clear();
    let report = report.map_err(|error| failure(&error))?;
    let answer = Answer {
        verdict: Verdict::of(&report.success, args.goal),
        goal: args.goal,
        report,
    };
    output.result(&answer, || answer.to_text())?;
    answer.failure().map_or(Ok(()), Err)
}

fn scenario(args: &Args) -> Scenario {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let trouble = &args.trouble;
    Scenario {
        seed: args.seed,
        nodes: count(args.nodes),
        join: if args.real_joins {
            Join::Bootstrap
        } else {
            Join::Synthetic
        },
        population: Population {
            clients: trouble.clients,
            unreachable: trouble.unreachable,
            liars: trouble.liars,
            lies: Lies::Mixed,
            dead_contacts: trouble.dead_contacts,
        },
        churn: args.churn.0,
        services: count(args.records),
        ttl: args.ttl,
        duration: args.duration,
        finds: count(args.finds),
        want: args.want.0,
        kill: trouble.kill,
        partition: trouble.partition.map(|lasts| Partition {
            groups: TWO,
            begins: args.duration / 3,
            lasts,
        }),
        faults: Faults {
            loss: trouble.loss,
            ..Faults::default()
        },
        ..Scenario::default()
    }
}

impl Verdict {
    fn of(success: &Success, goal: f64) -> Self {
        if success.cases == 0 || success.ratio < goal {
            Self::DoNotHold
        } else if success.low < goal {
            Self::ProbablyHold
        } else {
            Self::Hold
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Hold => "lookups hold",
            Self::ProbablyHold => "lookups probably hold",
            Self::DoNotHold => "lookups do not hold",
        }
    }
}

impl Answer {
    fn to_text(&self) -> String {
        format!("{}\nverdict    {}", self.report, self.verdict_in_words())
    }

    fn verdict_in_words(&self) -> String {
        let (words, success) = (self.verdict.in_words(), &self.report.success);
        let goal = self.goal * 100.0;
        format!(
            "{words}: {success} of {} finds succeed, {goal} % are asked for",
            success.cases
        )
    }

    /// Why the program fails, if it does: scripts ask for a verdict too.
    fn failure(&self) -> Option<Failure> {
        let (class, message) = if self.report.missed_deadlines > 0 {
            let missed = self.report.missed_deadlines;
            (
                Class::Unexpected,
                format!("{missed} operations missed their deadline"),
            )
        } else if self.verdict == Verdict::DoNotHold {
            (Class::Network, self.verdict_in_words())
        } else {
            return None;
        };
        Some(Failure { class, message })
    }
}

fn failure(error: &SimError) -> Failure {
    let class = match error {
        SimError::TooManyEvents(_) => Class::Unexpected,
        _ => Class::Usage,
    };
    Failure::of(class, error)
}

const TWO: NonZeroU64 = NonZeroU64::MIN.saturating_add(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_tells_luck_from_certainty() {
        let of = |cases, ratio, low| {
            let success = Success {
                cases,
                ratio,
                low,
                high: 1.0,
            };
            Verdict::of(&success, 0.99)
        };
        assert_eq!(of(1_000, 1.0, 0.996), Verdict::Hold);
        assert_eq!(of(10, 1.0, 0.722), Verdict::ProbablyHold);
        assert_eq!(of(1_000, 0.98, 0.97), Verdict::DoNotHold);
        assert_eq!(of(0, 0.0, 0.0), Verdict::DoNotHold);
    }
}
