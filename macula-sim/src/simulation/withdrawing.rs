//! Withdrawing services and looking for them afterwards.

use std::time::Duration;

use macula_dht::{DhtError, WithdrawReport};

use super::agenda::Task;
use super::service::VISIBLE_AFTER;
use super::{Operation, Simulation};
use crate::SimError;

/// A withdrawal that runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Withdrawing {
    service: usize,
    began: Duration,
}

impl Simulation<'_> {
    pub(super) fn begin_withdrawal(&mut self, service: usize) -> Result<(), SimError> {
        let (ttl, began) = (self.scenario.ttl, self.network.now());
        self.services[service].is_over = true;
        for provider in self.services[service].providers.clone() {
            let withdrawal = self.services[service].withdrawal(&self.network, &provider, ttl)?;
            if let Some(operation) = self.network.withdraw(provider.node, vec![withdrawal]) {
                let withdrawn_by = &mut self.services[service].withdrawn_by;
                withdrawn_by.insert(provider.node_id);
                let withdrawing = Withdrawing { service, began };
                self.withdrawing
                    .insert((provider.node, operation), withdrawing);
            }
        }
        Ok(())
    }

    pub(super) fn end_withdrawal(
        &mut self,
        operation: Operation,
        at: Duration,
        result: Result<WithdrawReport, DhtError>,
    ) {
        let Some(withdrawing) = self.withdrawing.remove(&operation) else {
            return;
        };
        let acknowledged = result.map_or(0, |report| report.acknowledged());
        self.withdrawals.end(acknowledged, at - withdrawing.began);
        let service = withdrawing.service;
        let mut others = self.withdrawing.values();
        if others.any(|other| other.service == service) {
            return;
        }
        self.services[service].withdrawn_at = Some(at);
        for look in 0..self.withdrawals.looks {
            let later = LOOKS_WITHIN.mul_f64(look as f64 / self.withdrawals.looks as f64);
            self.agenda
                .add(at + VISIBLE_AFTER + later, Task::Look { service });
        }
    }

    /// How long it takes at most until the last look at a withdrawn service is over.
    pub(super) fn withdrawal_lasts(&self) -> Duration {
        let kad = &self.scenario.kad;
        let told = kad.walk_timeout + kad.request_timeout * 2;
        told + VISIBLE_AFTER + LOOKS_WITHIN + self.scenario.find_timeout
    }
}

/// In how much time after it has to show a withdrawn service is looked for.
const LOOKS_WITHIN: Duration = Duration::from_secs(10);
