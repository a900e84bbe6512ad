//! Looking for services.

use std::num::NonZeroUsize;
use std::time::Duration;

use macula_core::Key;
use macula_dht::kad::{Ask, Search};
use macula_dht::{DhtError, Found};
use rand::RngExt;

use super::agenda::Task;
use super::service::Verdict;
use super::{FindTally, Operation, Simulation};
use crate::{FindFigures, SimError, WithdrawFigures};

/// Some finds, one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finds {
    /// How many.
    pub count: u32,
    /// In how much virtual time they begin, evenly.
    pub over: Duration,
    /// How many providers each wants; `None` to ask until nobody closer is left.
    pub want: Option<NonZeroUsize>,
    /// The share of finds of a service that nobody provides, 0 to 1.
    pub absent: f64,
}

/// A find that runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finding {
    /// Of which service; `None` when nobody provides it.
    service: Option<usize>,
    began: Duration,
    counted_by: Counter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counter {
    /// One of the tallies of finds.
    Tally(usize),
    /// That of finds after a withdrawal.
    Looks,
}

impl Simulation<'_> {
    /// Plays some finds under a name, until the last must be over.
    ///
    /// # Errors
    /// [`SimError`] when a record cannot be signed or there are too many events.
    pub fn find(&mut self, name: &'static str, finds: Finds) -> Result<FindFigures, SimError> {
        let tally = self.finds.len();
        self.finds.push(FindTally::new(name));
        let begins = self.network.now();
        for i in 0..finds.count {
            let at = begins + finds.over.mul_f64(f64::from(i) / f64::from(finds.count));
            self.agenda.add(at, Task::BatchFind { tally, finds });
        }
        let ends = begins + finds.over + self.scenario.find_timeout;
        self.run_until("find", ends)?;
        Ok(self.find_figures(tally))
    }

    /// The figures of a tally, with those that should be over counted as unfinished.
    pub(super) fn find_figures(&self, tally: usize) -> FindFigures {
        self.finds[tally].figures(self.unfinished(Counter::Tally(tally)))
    }

    /// The figures of the withdrawals; finds that should be over count as failed.
    pub(super) fn withdraw_figures(&self) -> WithdrawFigures {
        self.withdrawals.figures(self.unfinished(Counter::Looks))
    }

    fn unfinished(&self, counter: Counter) -> usize {
        let running = self.finding.values();
        let counted = running.filter(|finding| finding.counted_by == counter);
        counted.count()
    }

    pub(super) fn begin_scheduled_find(&mut self) {
        let finds = Finds {
            count: 1,
            over: Duration::ZERO,
            want: self.scenario.want,
            absent: self.scenario.absent,
        };
        self.begin_batch_find(self.phase, finds);
    }

    pub(super) fn begin_batch_find(&mut self, tally: usize, finds: Finds) {
        let counter = Counter::Tally(tally);
        if finds.absent > 0.0 && self.rng.random_bool(finds.absent.min(1.0)) {
            let nobodys = Key::from_bytes(self.rng.random());
            self.begin_find(None, nobodys, finds.want, counter);
        } else if let Some(service) = self.any_announced() {
            let key = self.services[service].key;
            self.begin_find(Some(service), key, finds.want, counter);
        }
    }

    pub(super) fn begin_look(&mut self, service: usize) {
        let key = self.services[service].key;
        self.begin_find(Some(service), key, self.scenario.want, Counter::Looks);
    }

    /// A service that can be found now.
    fn any_announced(&mut self) -> Option<usize> {
        let count = self.current.len();
        if count == 0 {
            return None;
        }
        let begin = self.rng.random_range(0..count);
        let in_turn = (begin..count).chain(0..begin);
        in_turn
            .map(|position| self.current[position])
            .find(|service| self.services[*service].is_announced())
    }

    fn begin_find(
        &mut self,
        service: Option<usize>,
        key: Key,
        want: Option<NonZeroUsize>,
        counted_by: Counter,
    ) {
        let Some(node) = self.somebody_to_look_for(service) else {
            return;
        };
        let search = Search {
            key,
            want: want.unwrap_or(NonZeroUsize::MAX),
            timeout: self.scenario.find_timeout,
            ask: Ask::Network,
            trace: false,
        };
        let began = self.network.now();
        if let Some(operation) = self.network.find(node, search) {
            let finding = Finding {
                service,
                began,
                counted_by,
            };
            self.finding.insert((node, operation), finding);
        }
    }

    /// A live and honest node that does not provide the service, on the side of one that does.
    fn somebody_to_look_for(&mut self, service: Option<usize>) -> Option<usize> {
        let network = &self.network;
        let service = service.map(|service| &self.services[service]);
        let can_look = |node: usize| {
            service.is_none_or(|service| {
                let mut providers = service.providers.iter();
                let is_beside =
                    providers.any(|provider| network.group(provider.node) == network.group(node));
                is_beside && !service.is_provided_by(node)
            })
        };
        network.pick(&mut self.rng, |node| {
            network.is_alive(node) && network.is_honest(node) && can_look(node)
        })
    }

    pub(super) fn end_find(
        &mut self,
        operation: Operation,
        at: Duration,
        result: Result<Found, DhtError>,
    ) {
        let Some(finding) = self.finding.remove(&operation) else {
            return;
        };
        let began = finding.began;
        let service = finding.service.map(|service| &self.services[service]);
        let verdict = match (&result, service) {
            (Ok(found), Some(service)) => service.judge(found, began),
            (Ok(found), None) if !found.providers.is_empty() => Verdict::Invented,
            (Err(_), Some(service)) if !service.is_announced() => Verdict::Void,
            _ => Verdict::Missed,
        };
        match finding.counted_by {
            Counter::Looks => {
                let outcome = result.ok().map(|found| found.outcome);
                self.withdrawals.look(verdict, outcome);
            }
            Counter::Tally(tally) => {
                let is_absent = finding.service.is_none();
                self.finds[tally].add(is_absent, verdict, at - began, result.ok().as_ref());
            }
        }
    }
}
