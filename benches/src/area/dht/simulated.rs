//! Lookups among thousands of machines in virtual time.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, ensure};
use macula_sim::{
    AnnounceFigures, Churn, Connections, Latency, Population, Report, Scenario, Simulation, Success,
};

use crate::area::measured_once;
use crate::part::{self, Cost, Simulated};
use crate::session::Session;
use crate::statistics::Estimate;

/// Networks of a thousand nodes: the fewest that an interval of 90 % can be had from.
const SEEDS: u64 = 5;

const THOUSAND: usize = 1_000;

const HUNDRED_THOUSAND: usize = 100_000;

/// Lookups in each of them.
const LOOKUPS: u32 = 1_000;

/// Idle machines that are counted.
const MACHINES: u32 = 10_000;

/// Finds in a network whose nodes come and go.
const FINDS_UNDER_CHURN: usize = 22_000;

/// As many have to say something; some do not, because the provider left meanwhile.
const LEAST_FINDS: usize = 20_000;

/// Holders that an announcement waits for.
const QUORUM: u64 = 5;

/// How long that network is watched.
const WATCHED: Duration = Duration::from_secs(2 * 60 * 60);

pub(super) fn exhaustive_requests(_: &Session) -> anyhow::Result<Estimate> {
    among_a_thousand(|cost| cost.exhaustive.requests)
}

pub(super) fn exhaustive_requests_p95(_: &Session) -> anyhow::Result<Estimate> {
    among_a_thousand(|cost| cost.exhaustive.requests_p95)
}

pub(super) fn find_requests(_: &Session) -> anyhow::Result<Estimate> {
    among_a_thousand(|cost| cost.find.requests)
}

pub(super) fn lookup_cpu(_: &Session) -> anyhow::Result<Estimate> {
    among_a_thousand(|cost| cost.exhaustive.cpu_us)
}

pub(super) fn exhaustive_hops(_: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(hundred_thousand()?.exhaustive.hops))
}

pub(super) fn exhaustive_hops_p95(_: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(hundred_thousand()?.exhaustive.hops_p95))
}

pub(super) fn find_hops(_: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(hundred_thousand()?.find.hops))
}

pub(super) fn find_hops_p95(_: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(hundred_thousand()?.find.hops_p95))
}

pub(super) fn memory_of_hundred_thousand(_: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(hundred_thousand()?.peak_bytes))
}

pub(super) fn memory_of_one(_: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(part::bytes_per_machine(MACHINES)?))
}

pub(super) fn finds_under_churn(_: &Session) -> anyhow::Result<Estimate> {
    let report = churned()?;
    let right: usize = report.finds.iter().map(|finds| finds.right).sum();
    share(right, report.success)
}

pub(super) fn withdrawals_under_churn(_: &Session) -> anyhow::Result<Estimate> {
    let withdraw = &churned()?.withdraw;
    share(
        withdraw.unseen.cases - withdraw.still_found,
        withdraw.unseen,
    )
}

pub(super) fn warm_announcements(_: &Session) -> anyhow::Result<Estimate> {
    announced(0)
}

/// Every connection has to be made first: a handshake and a hello, a round trip each.
pub(super) fn cold_announcements(_: &Session) -> anyhow::Result<Estimate> {
    announced(2)
}

/// 95 % of the announcements take no longer, in milliseconds.
fn announced(round_trips: u32) -> anyhow::Result<Estimate> {
    let p95 = |seed| {
        let mut simulation = Simulation::new(&Scenario {
            seed,
            nodes: THOUSAND,
            services: 200,
            latency: Latency::constant(Duration::from_millis(40)),
            connections: Connections {
                round_trips,
                ..Connections::default()
            },
            ..Scenario::default()
        })?;
        simulation.join()?;
        let AnnounceFigures {
            records,
            announced,
            holders,
            millis,
            ..
        } = simulation.announce()?;
        ensure!(announced == records, "{announced} of {records}");
        ensure!(holders.min >= QUORUM, "only {} holders", holders.min);
        Ok(f64::from(u32::try_from(millis.p95)?))
    };
    let p95 = (1..=SEEDS).map(p95).collect::<anyhow::Result<Vec<_>>>()?;
    Estimate::of_median(&p95).context("too few networks")
}

fn among_a_thousand(figure: impl Fn(&Cost) -> f64) -> anyhow::Result<Estimate> {
    static COSTS: OnceLock<Vec<Cost>> = OnceLock::new();
    let costs = measured_once(&COSTS, || {
        let seeds = 1..=SEEDS;
        seeds.map(|seed| cost(THOUSAND, seed)).collect()
    })?;
    let figures: Vec<f64> = costs.iter().map(figure).collect();
    Estimate::of_median(&figures).context("too few networks")
}

fn hundred_thousand() -> anyhow::Result<&'static Cost> {
    static COST: OnceLock<Cost> = OnceLock::new();
    measured_once(&COST, || cost(HUNDRED_THOUSAND, 1))
}

pub(super) fn cost(nodes: usize, seed: u64) -> anyhow::Result<Cost> {
    let simulated = Simulated {
        nodes,
        seed,
        lookups: LOOKUPS,
    };
    simulated.cost()
}

/// Sessions as they were measured in the field, and a tenth of the contacts dead from the start.
fn churned() -> anyhow::Result<&'static Report> {
    static REPORT: OnceLock<Report> = OnceLock::new();
    measured_once(&REPORT, || {
        let scenario = Scenario {
            nodes: THOUSAND,
            churn: Some(Churn::default()),
            population: Population {
                dead_contacts: 0.1,
                ..Population::default()
            },
            services: 1_000,
            duration: WATCHED,
            finds: FINDS_UNDER_CHURN,
            ..Scenario::default()
        };
        let report = scenario.run()?;
        ensure!(report.departed > 0, "nobody left");
        ensure!(report.success.cases >= LEAST_FINDS, "too few finds");
        ensure!(report.withdraw.finds >= LEAST_FINDS, "too few looks");
        Ok(report)
    })
}

/// With the same interval as all other shares.
fn share(right: usize, of: Success) -> anyhow::Result<Estimate> {
    let share = Estimate::of_share(u64::try_from(right)?, u64::try_from(of.cases)?);
    share.context("no case was counted")
}
