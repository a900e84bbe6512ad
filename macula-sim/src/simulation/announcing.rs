//! Announcing services, keeping their records alive, and replacing providers that leave.

use std::time::Duration;

use macula_dht::{AnnounceReport, DhtError};
use rand::RngExt;

use super::agenda::Task;
use super::service::Service;
use super::{Operation, Simulation};
use crate::SimError;

/// An announcement that runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announcing {
    service: usize,
    began: Duration,
    is_first: bool,
}

impl Simulation<'_> {
    /// Adds a service with as many providers as there can be; its index.
    pub(super) fn new_service(&mut self) -> Option<usize> {
        let index = self.services.len();
        self.services.push(Service::new(index)?);
        for _ in 0..self.scenario.providers {
            self.add_provider(index);
        }
        Some(index)
    }

    /// Lets another node provide a service; which.
    fn add_provider(&mut self, service: usize) -> Option<usize> {
        let network = &self.network;
        let of_service = &self.services[service];
        let node = network.pick(&mut self.rng, |node| {
            network.is_alive(node) && network.is_honest(node) && !of_service.is_provided_by(node)
        })?;
        let node_id = self.network.contact(node)?.node_id;
        self.services[service].add_provider(node, node_id);
        Some(node)
    }

    /// Whatever a node that has left provided is provided by another from now on.
    pub(super) fn replace_provider(&mut self, node: usize) {
        for position in 0..self.current.len() {
            let mut service = self.current[position];
            if !self.services[service].is_provided_by(node) || self.services[service].is_over {
                continue;
            }
            let providers = &mut self.services[service].providers;
            providers.retain(|provider| provider.node != node);
            let newcomer = if providers.is_empty() {
                // Its record goes on without a provider for a while; finds of it say nothing.
                let Some(another) = self.new_service() else {
                    continue;
                };
                self.current[position] = another;
                service = another;
                self.services[another].providers.first().map(|one| one.node)
            } else {
                self.add_provider(service)
            };
            if let Some(node) = newcomer {
                let at = self.network.now() + REPLACED_AFTER;
                self.agenda.add(at, Task::Announce { service, node });
            }
        }
    }

    pub(super) fn begin_announcement(
        &mut self,
        service: usize,
        node: usize,
    ) -> Result<(), SimError> {
        let ttl = self.scenario.ttl;
        let of_service = &mut self.services[service];
        let Some(record) = of_service.next_record(&self.network, node, ttl) else {
            return Ok(());
        };
        let is_first = of_service
            .provider_mut(node)
            .is_some_and(|provider| !provider.announced);
        let began = self.network.now();
        if let Some(operation) = self.network.announce(node, vec![record?]) {
            self.tally_of(is_first).begin();
            let announcing = Announcing {
                service,
                began,
                is_first,
            };
            self.announcing.insert((node, operation), announcing);
        }
        Ok(())
    }

    pub(super) fn end_announcement(
        &mut self,
        operation: Operation,
        at: Duration,
        result: Result<AnnounceReport, DhtError>,
    ) {
        let Some(announcing) = self.announcing.remove(&operation) else {
            return;
        };
        let Announcing {
            service,
            began,
            is_first,
        } = announcing;
        let node = operation.0;
        let next = match result {
            Ok(report) => {
                let holders = report.records.first().map_or(0, |record| record.holders);
                self.tally_of(is_first).succeed(holders, at - began);
                if let Some(provider) = self.services[service].provider_mut(node) {
                    provider.announced = true;
                }
                began + self.refresh_interval()
            }
            Err(_) => at + RETRIED_AFTER,
        };
        self.agenda.add(next, Task::Announce { service, node });
    }

    fn tally_of(&mut self, is_first: bool) -> &mut super::AnnounceTally {
        if is_first {
            &mut self.first_announcements
        } else {
            &mut self.refreshes
        }
    }

    /// As the registry does it: in time before the record is over, and not all at once.
    fn refresh_interval(&mut self) -> Duration {
        let longest = self.scenario.ttl.saturating_sub(REFRESH_MARGIN);
        let interval = longest.max(MIN_REFRESH);
        interval - (interval / REFRESH_JITTER).mul_f64(self.rng.random())
    }
}

/// How long before its record is over a provider announces it again.
const REFRESH_MARGIN: Duration = Duration::from_secs(60);

/// Between two announcements passes so much at least.
const MIN_REFRESH: Duration = Duration::from_secs(10);

/// By which part of the interval a refresh may come earlier.
const REFRESH_JITTER: u32 = 10;

const RETRIED_AFTER: Duration = Duration::from_secs(10);

/// How long after a provider has left another takes its place.
const REPLACED_AFTER: Duration = Duration::from_secs(1);
