//! A scenario being played.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use macula_dht::kad::{Ask, OperationId, OperationResult, Search};
use macula_dht::{AnnounceReport, Found};
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::service::Service;
use super::{Join, PACE, Scenario};
use crate::checker::Verdict;
use crate::network::Outcome;
use crate::report::millis;
use crate::{
    AnnounceFigures, FindFigures, JoinFigures, Network, Report, SimError, Spread, WithdrawFigures,
};

pub(super) struct Run<'a> {
    scenario: &'a Scenario,
    network: Network,
    services: Vec<Service>,
    /// Chooses who does what; the network has a generator of its own.
    rng: StdRng,
}

/// Operations that were started: of which service, and when.
type Started = BTreeMap<(usize, OperationId), (usize, Duration)>;

/// An operation that is over: of which service, how long it took, what it came to.
struct Ended {
    service: usize,
    took: Duration,
    result: OperationResult,
}

impl<'a> Run<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Result<Self, SimError> {
        let network = Network::new(&scenario.network_config())?;
        let mut rng = StdRng::seed_from_u64(!scenario.seed);
        let services = (0..scenario.records)
            .filter_map(|index| {
                let provider = rng.random_range(0..scenario.nodes);
                Service::new(&network, index, provider)
            })
            .collect();
        Ok(Self {
            scenario,
            network,
            services,
            rng,
        })
    }

    pub(super) fn report(mut self) -> Result<Report, SimError> {
        let join = self.join()?;
        self.network.set_faults(self.scenario.faults)?;
        let announce = self.announce()?;
        let mut finds = vec![self.find("all alive")?];
        let killed = self.kill();
        if killed > 0 {
            finds.push(self.find("after the kill")?);
        }
        let withdraw = self.withdraw()?;
        self.network.check_invariants();
        Ok(Report {
            seed: self.scenario.seed,
            nodes: self.scenario.nodes,
            killed,
            virtual_millis: millis(self.network.now()),
            events: self.network.events(),
            trace_hash: format!("{:016x}", self.network.trace_hash()),
            traffic: self.network.traffic(),
            join,
            announce,
            finds,
            withdraw,
        })
    }

    fn join(&mut self) -> Result<JoinFigures, SimError> {
        match self.scenario.join {
            Join::Synthetic => self.network.join_synthetically(),
            Join::Bootstrap => {
                for node in 1..self.scenario.nodes {
                    let earlier = self.rng.random_range(0..node);
                    self.network.join(node, &[earlier]);
                    self.network.run_for(PACE)?;
                }
            }
        }
        self.network.run_for(self.scenario.kad.walk_timeout)?;
        let contacts: Vec<u64> = (0..self.scenario.nodes)
            .filter_map(|node| self.network.stats(node))
            .map(|stats| stats.contacts as u64)
            .collect();
        Ok(JoinFigures {
            alone: contacts.iter().filter(|contacts| **contacts == 0).count(),
            contacts: Spread::of(contacts),
        })
    }

    fn announce(&mut self) -> Result<AnnounceFigures, SimError> {
        let mut started = Started::new();
        for index in 0..self.services.len() {
            let service = &self.services[index];
            let (node, record) = (service.provider, service.record(&self.network)?);
            let operation = self.network.announce(node, vec![record]);
            self.note(&mut started, index, node, operation);
            self.network.run_for(PACE)?;
        }
        let ended = self.finish(started, self.scenario.kad.walk_timeout)?;
        let (mut announced, mut holders, mut took) = (0, Vec::new(), Vec::new());
        for ended in ended {
            if let OperationResult::Announced(Ok(AnnounceReport { records })) = ended.result {
                announced += 1;
                took.push(millis(ended.took));
                holders.extend(records.iter().map(|record| record.holders as u64));
            }
        }
        Ok(AnnounceFigures {
            records: self.services.len(),
            announced,
            holders: Spread::of(holders),
            millis: Spread::of(took),
        })
    }

    fn kill(&mut self) -> usize {
        let mut nodes: Vec<usize> = (0..self.scenario.nodes).collect();
        nodes.shuffle(&mut self.rng);
        // Two are left, so that somebody can look and be found.
        let share = (nodes.len() as f64 * self.scenario.kill) as usize;
        nodes.truncate(share.min(nodes.len() - 2));
        for node in &nodes {
            self.network.kill(*node);
        }
        nodes.len()
    }

    fn find(&mut self, phase: &'static str) -> Result<FindFigures, SimError> {
        let services: Vec<usize> = (0..self.services.len()).collect();
        let (finds, ended) = self.look_for(&services, self.scenario.finds)?;
        let mut figures = FindFigures {
            phase,
            finds,
            unfinished: finds - ended.len(),
            ..FindFigures::default()
        };
        let (mut requests, mut hops, mut took) = (Vec::new(), Vec::new(), Vec::new());
        for ended in ended {
            took.push(millis(ended.took));
            let Some(found) = found(&ended.result) else {
                figures.failed += 1;
                continue;
            };
            requests.push(found.requests as u64);
            match Verdict::of(found, &self.services[ended.service].provider_id) {
                Verdict::Found => {
                    figures.found += 1;
                    hops.push(found.hops as u64);
                }
                Verdict::Absent => figures.absent += 1,
                Verdict::Inconclusive => figures.inconclusive += 1,
                Verdict::Invented => figures.invented += 1,
            }
        }
        figures.success_ratio = ratio(figures.found, finds);
        figures.requests = Spread::of(requests);
        figures.hops = Spread::of(hops);
        figures.millis = Spread::of(took);
        Ok(figures)
    }

    fn withdraw(&mut self) -> Result<WithdrawFigures, SimError> {
        let count = (self.services.len() as f64 * self.scenario.withdraw) as usize;
        let withdrawn: Vec<usize> = (0..self.services.len())
            .filter(|index| self.network.is_alive(self.services[*index].provider))
            .take(count)
            .collect();
        let mut started = Started::new();
        for &index in &withdrawn {
            let service = &self.services[index];
            let (node, withdrawal) = (service.provider, service.withdrawal(&self.network)?);
            let operation = self.network.withdraw(node, vec![withdrawal]);
            self.note(&mut started, index, node, operation);
            self.network.run_for(PACE)?;
        }
        let mut acknowledged = 0;
        for ended in self.finish(started, self.scenario.kad.walk_timeout)? {
            if let OperationResult::Withdrawn(Ok(report)) = ended.result {
                acknowledged += report.acknowledged;
            }
        }
        let (finds, ended) = self.look_for(&withdrawn, self.scenario.finds)?;
        let sees =
            |ended: &Ended| found(&ended.result).is_some_and(|found| !found.providers.is_empty());
        Ok(WithdrawFigures {
            withdrawn: withdrawn.len(),
            acknowledged,
            finds,
            still_found: ended.iter().filter(|ended| sees(ended)).count(),
        })
    }

    /// Lets live nodes look for these services in turn; returns how many finds were started, and
    /// those that have ended.
    fn look_for(
        &mut self,
        services: &[usize],
        count: usize,
    ) -> Result<(usize, Vec<Ended>), SimError> {
        let mut started = Started::new();
        for &index in services.iter().cycle().take(count) {
            let service = &self.services[index];
            let search = Search {
                key: service.key,
                want: NonZeroUsize::MIN,
                timeout: FIND_TIMEOUT,
                ask: Ask::Network,
                trace: false,
            };
            let lookers = (0..self.scenario.nodes)
                .filter(|node| *node != service.provider && self.network.is_alive(*node));
            let Some(node) = lookers.choose(&mut self.rng) else {
                continue;
            };
            let operation = self.network.find(node, search);
            self.note(&mut started, index, node, operation);
            self.network.run_for(PACE)?;
        }
        let finds = started.len();
        Ok((finds, self.finish(started, FIND_TIMEOUT)?))
    }

    fn note(
        &self,
        started: &mut Started,
        service: usize,
        node: usize,
        operation: Option<OperationId>,
    ) {
        if let Some(operation) = operation {
            started.insert((node, operation), (service, self.network.now()));
        }
    }

    /// Goes on until every operation must have ended, and a little longer, so that whatever they
    /// left behind comes to rest.
    fn finish(&mut self, mut started: Started, limit: Duration) -> Result<Vec<Ended>, SimError> {
        self.network.run_for(limit + SETTLE)?;
        let outcomes = self.network.take_outcomes().into_iter();
        let ended = outcomes.filter_map(|outcome: Outcome| {
            let (service, at) = started.remove(&(outcome.node, outcome.operation))?;
            Some(Ended {
                service,
                took: outcome.at - at,
                result: outcome.result,
            })
        });
        Ok(ended.collect())
    }
}

fn found(result: &OperationResult) -> Option<&Found> {
    match result {
        OperationResult::Found(found) => found.as_ref().ok(),
        _ => None,
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

const FIND_TIMEOUT: Duration = Duration::from_secs(5);

/// A withdrawal has to be seen by finds that start so long after it returned.
const SETTLE: Duration = Duration::from_secs(2);
