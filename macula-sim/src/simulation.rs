//! A scenario being played.

use std::collections::BTreeMap;
use std::time::Duration;

use macula_dht::kad::{OperationId, OperationResult};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

mod agenda;
mod service;
mod tally;

mod announcing;
mod finding;
mod withdrawing;

use crate::network::Outcome;
use crate::report::{self, HolderFigures, millis};
use crate::{
    AnnounceFigures, FindFigures, Join, JoinFigures, Network, Report, Scenario, SimError, Spread,
    WithdrawFigures,
};
use agenda::{Agenda, Task};
use announcing::Announcing;
use finding::Finding;
use service::Service;
use tally::{AnnounceTally, FindTally, WithdrawTally};
use withdrawing::Withdrawing;

pub use finding::Finds;

/// A [`Scenario`] that can be played step by step, so that each step can be measured.
///
/// The usual order is that of [`Scenario::run`]: [`join`](Self::join),
/// [`announce`](Self::announce), [`live`](Self::live), [`withdraw`](Self::withdraw),
/// [`report`](Self::report), with any number of [`find`](Self::find) in between.
pub struct Simulation<'a> {
    scenario: Scenario,
    network: Network,
    /// Chooses who does what; the network has a generator of its own.
    rng: StdRng,
    services: Vec<Service>,
    /// Those that are looked for: the others have lost their last provider.
    current: Vec<usize>,
    agenda: Agenda,
    announcing: BTreeMap<Operation, Announcing>,
    finding: BTreeMap<Operation, Finding>,
    withdrawing: BTreeMap<Operation, Withdrawing>,
    first_announcements: AnnounceTally,
    refreshes: AnnounceTally,
    finds: Vec<FindTally>,
    /// Which of them counts the finds that begin now.
    phase: usize,
    withdrawals: WithdrawTally,
    joined: JoinFigures,
    holders: Vec<HolderFigures>,
    killed: usize,
    departed: usize,
    progress: Option<Box<dyn FnMut(Progress) + 'a>>,
}

/// How far a simulation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What is being played.
    pub step: &'static str,
    /// How much of that is done: 0 to 1.
    pub done: f64,
}

/// An operation of a node.
type Operation = (usize, OperationId);

impl<'a> Simulation<'a> {
    /// Makes the nodes and chooses the providers.
    ///
    /// # Errors
    /// [`SimError`] when the numbers make no sense.
    pub fn new(scenario: &Scenario) -> Result<Self, SimError> {
        scenario.check()?;
        let mut simulation = Self {
            network: Network::new(&scenario.network_config())?,
            scenario: scenario.clone(),
            rng: StdRng::seed_from_u64(!scenario.seed),
            services: Vec::new(),
            current: Vec::new(),
            agenda: Agenda::default(),
            announcing: BTreeMap::new(),
            finding: BTreeMap::new(),
            withdrawing: BTreeMap::new(),
            first_announcements: AnnounceTally::default(),
            refreshes: AnnounceTally::default(),
            finds: Vec::new(),
            phase: 0,
            withdrawals: WithdrawTally::default(),
            joined: JoinFigures::default(),
            holders: Vec::new(),
            killed: 0,
            departed: 0,
            progress: None,
        };
        for _ in 0..scenario.services {
            let service = simulation.new_service();
            simulation.current.extend(service);
        }
        Ok(simulation)
    }

    /// Tells this function again and again how far the simulation is.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(Progress) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// The network, to look at or to interfere with.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Lets the nodes get to know each other. From then on messages are lost and nodes come and
    /// go, if they do.
    ///
    /// # Errors
    /// [`SimError::TooManyEvents`].
    pub fn join(&mut self) -> Result<JoinFigures, SimError> {
        match self.scenario.join {
            Join::Synthetic => self.network.join_synthetically(),
            Join::Bootstrap => self.join_in_turn()?,
        }
        let contacts: Vec<u64> = (0..self.network.len())
            .filter_map(|node| self.network.stats(node))
            .map(|stats| stats.contacts as u64)
            .collect();
        self.joined = JoinFigures {
            alone: contacts.iter().filter(|contacts| **contacts == 0).count(),
            contacts: Spread::of(contacts),
        };
        self.network.set_faults(self.scenario.faults)?;
        if let Some(churn) = self.scenario.churn {
            self.network.start_churn(churn)?;
        }
        Ok(self.joined)
    }

    fn join_in_turn(&mut self) -> Result<(), SimError> {
        let nodes = self.scenario.nodes;
        for node in 1..nodes {
            let mut earlier = self.rng.random_range(0..node);
            if !self.network.is_server(earlier) {
                earlier = 0;
            }
            self.network.join(node, &[earlier]);
            self.network.run_for(PACE)?;
            self.tell_progress("join", node as f64 / nodes as f64);
        }
        self.network.run_for(self.scenario.kad.walk_timeout)
    }

    /// Announces the services, and goes on until the last must have been.
    ///
    /// # Errors
    /// [`SimError`] when a record cannot be signed or there are too many events.
    pub fn announce(&mut self) -> Result<AnnounceFigures, SimError> {
        let mut at = self.network.now();
        for service in self.current.clone() {
            for provider in self.services[service].providers.clone() {
                let node = provider.node;
                self.agenda.add(at, Task::Announce { service, node });
                at += PACE;
            }
        }
        self.run_until("announce", at + self.scenario.kad.walk_timeout)?;
        Ok(self.first_announcements.figures())
    }

    /// Goes on for the scenario's duration, with its finds and with whatever happens to the
    /// network.
    ///
    /// # Errors
    /// [`SimError`] when a record cannot be signed or there are too many events.
    pub fn live(&mut self) -> Result<(), SimError> {
        let (begins, lasts) = (self.network.now(), self.scenario.duration);
        let finds = u32::try_from(self.scenario.finds).unwrap_or(u32::MAX);
        for i in 0..finds {
            let at = begins + lasts.mul_f64(f64::from(i) / f64::from(finds));
            self.agenda.add(at, Task::Find);
        }
        for i in 0..=SAMPLES {
            self.agenda.add(begins + lasts * i / SAMPLES, Task::Sample);
        }
        let is_hurt = self.scenario.kill > 0.0 || self.scenario.partition.is_some();
        self.begin_phase(if is_hurt { "before" } else { "all the time" });
        if self.scenario.kill > 0.0 {
            self.agenda.add(begins + lasts / 2, Task::Kill);
        }
        if let Some(partition) = self.scenario.partition {
            let at = begins + partition.begins;
            self.agenda.add(at, Task::Split(partition.groups));
            self.agenda.add(at + partition.lasts, Task::Heal);
        }
        self.run_until("live", begins + lasts)?;
        self.run_until("live", begins + lasts + self.scenario.find_timeout)
    }

    /// Goes on for so long without finds; records are refreshed.
    ///
    /// # Errors
    /// [`SimError`] when a record cannot be signed or there are too many events.
    pub fn rest(&mut self, duration: Duration) -> Result<(), SimError> {
        let until = self.network.now() + duration;
        self.run_until("rest", until)
    }

    /// What has come of it so far.
    pub fn report(&self) -> Report {
        let finds: Vec<FindFigures> = (0..self.finds.len())
            .map(|tally| self.find_figures(tally))
            .collect();
        Report {
            seed: self.scenario.seed,
            nodes: self.scenario.nodes,
            alive: self.network.alive(),
            killed: self.killed,
            departed: self.departed - self.killed,
            virtual_millis: millis(self.network.now()),
            events: self.network.events(),
            trace_hash: format!("{:016x}", self.network.trace_hash()),
            missed_deadlines: self.network.missed_deadlines(),
            shortened: report::shortened(&self.scenario),
            traffic: self.network.traffic(),
            join: self.joined,
            announce: self.first_announcements.figures(),
            refresh: self.refreshes.figures(),
            success: report::Success::of_all(&finds),
            finds: finds.into_iter().filter(|phase| phase.finds > 0).collect(),
            holders: self.holders.clone(),
            withdraw: self.withdraw_figures(),
        }
    }

    /// Plays the network and the agenda up to some time.
    fn run_until(&mut self, step: &'static str, until: Duration) -> Result<(), SimError> {
        let begins = self.network.now();
        let whole = until
            .saturating_sub(begins)
            .as_secs_f64()
            .max(f64::MIN_POSITIVE);
        loop {
            let now = self.network.now();
            let next = self.agenda.next().unwrap_or(until).min(now + SLICE);
            let pause = next.min(until).saturating_sub(now);
            self.network.run_for(pause)?;
            self.catch_up();
            while let Some(task) = self.agenda.pop_until(self.network.now()) {
                self.carry_out(task)?;
            }
            let now = self.network.now();
            self.tell_progress(step, (now - begins).as_secs_f64() / whole);
            if now >= until {
                return Ok(());
            }
        }
    }

    fn tell_progress(&mut self, step: &'static str, done: f64) {
        if let Some(progress) = &mut self.progress {
            progress(Progress { step, done });
        }
    }

    fn carry_out(&mut self, task: Task) -> Result<(), SimError> {
        match task {
            Task::Announce { service, node } => self.begin_announcement(service, node)?,
            Task::Find => self.begin_scheduled_find(),
            Task::Look { service } => self.begin_look(service),
            Task::BatchFind { tally, finds } => self.begin_batch_find(tally, finds),
            Task::Withdraw { service } => self.begin_withdrawal(service)?,
            Task::Sample => self.sample_holders(),
            Task::Kill => self.kill(),
            Task::Split(groups) => {
                self.network.split(groups);
                self.begin_phase("while split");
            }
            Task::Heal => {
                self.network.heal();
                self.begin_phase("after healing");
            }
        }
        Ok(())
    }

    /// Takes note of what has ended and who has left.
    fn catch_up(&mut self) {
        for outcome in self.network.take_outcomes() {
            let Outcome {
                node,
                operation,
                result,
                at,
            } = outcome;
            let operation = (node, operation);
            match result {
                OperationResult::Found(result) => self.end_find(operation, at, result),
                OperationResult::Announced(result) => self.end_announcement(operation, at, result),
                OperationResult::Withdrawn(result) => self.end_withdrawal(operation, at, result),
                OperationResult::Located(_) | OperationResult::Joined { .. } => {}
            }
        }
        for node in self.network.take_departed() {
            self.departed += 1;
            self.announcing.retain(|(of, _), _| *of != node);
            self.finding.retain(|(of, _), _| *of != node);
            self.withdrawing.retain(|(of, _), _| *of != node);
            self.replace_provider(node);
        }
    }

    fn begin_phase(&mut self, phase: &'static str) {
        self.phase = self.finds.len();
        self.finds.push(FindTally::new(phase));
    }

    fn kill(&mut self) {
        let mut nodes: Vec<usize> = (0..self.network.len())
            .filter(|node| self.network.is_alive(*node))
            .collect();
        nodes.shuffle(&mut self.rng);
        // Two are left, so that somebody can look and be found.
        let share = (nodes.len() as f64 * self.scenario.kill) as usize;
        nodes.truncate(share.min(nodes.len().saturating_sub(2)));
        for node in &nodes {
            self.network.kill(*node);
        }
        self.killed += nodes.len();
        self.catch_up();
        self.begin_phase("after the kill");
    }

    fn sample_holders(&mut self) {
        let mut holders = Vec::new();
        let sampled = self.current.iter().map(|service| &self.services[*service]);
        for service in sampled
            .filter(|service| service.is_announced())
            .take(SAMPLED)
        {
            for provider in service.providers.iter().filter(|one| one.announced) {
                let count = self.network.holders(&service.key, &provider.node_id);
                holders.push(count as u64);
            }
        }
        self.holders.push(HolderFigures {
            at_secs: self.network.now().as_secs(),
            records: holders.len(),
            holders: Spread::of(holders),
        });
    }
}

impl Simulation<'_> {
    /// Withdraws some services, and looks for them when that must show.
    ///
    /// # Errors
    /// [`SimError`] when a withdrawal cannot be signed or there are too many events.
    pub fn withdraw(&mut self) -> Result<WithdrawFigures, SimError> {
        let count = (self.current.len() as f64 * self.scenario.withdraw) as usize;
        let announced = |service: &usize| self.services[*service].is_announced();
        let services = self.current.iter().copied().filter(announced);
        let withdrawn: Vec<usize> = services.take(count).collect();
        let mut at = self.network.now();
        for &service in &withdrawn {
            self.agenda.add(at, Task::Withdraw { service });
            at += PACE;
        }
        self.withdrawals.looks = self.scenario.finds.div_ceil(withdrawn.len().max(1));
        if !withdrawn.is_empty() {
            self.run_until("withdraw", at + self.withdrawal_lasts())?;
        }
        Ok(self.withdraw_figures())
    }
}

/// Virtual time between two operations of one step.
const PACE: Duration = Duration::from_millis(20);

/// Longest virtual time after which what has ended is looked at.
const SLICE: Duration = Duration::from_millis(500);

/// How often it is counted who holds the records.
const SAMPLES: u32 = 10;

/// Services whose holders are counted.
const SAMPLED: usize = 100;
