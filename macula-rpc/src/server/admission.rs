//! One call's place among those that run, and the books it is entered in.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use macula_core::ServiceName;
use macula_registry::LocalService;
use tokio::time::Instant;

use super::stats::Counters;
use crate::Service;
use crate::message::{ReplyMessage, Status};
use crate::metrics::{Meters, Served};
use crate::places::{NoPlace, Places};

/// What the running calls of a server share with it.
#[derive(Debug)]
pub(super) struct Ledger {
    /// One for each running handler, whatever its service. Closed once the node drains.
    pub(super) places: Places,
    pub(super) counters: Counters,
    pub(super) meters: Meters<Served>,
}

/// What a call goes to.
pub(super) enum Found {
    /// A service of the registry.
    Registered(LocalService<Service>),
    /// One that the node answers beside it.
    System(ServiceName, Service),
}

/// The places of one call, of its service's and of the node's. They are given back when this is
/// dropped, for which its owner waits until the handler has really ended: with a result, an error,
/// a panic, or by being dropped itself.
pub(super) struct Admission {
    found: Found,
    ledger: Arc<Ledger>,
    arrived: Instant,
    has_ended: bool,
}

impl Ledger {
    pub(super) fn new(max_running: NonZeroUsize) -> Self {
        Self {
            places: Places::new(max_running.get()),
            counters: Counters::default(),
            meters: Meters::default(),
        }
    }

    /// A call has arrived.
    fn called(&self, found: &Found) {
        match found {
            Found::Registered(local) => self.meter_of(local).called(),
            Found::System(..) => self.counters.system_called(),
        }
    }

    /// A call that had arrived has ended.
    fn replied(&self, found: &Found, status: &Status, took: Duration) {
        if let Found::Registered(local) = found {
            self.meter_of(local).ended(took, status.class());
        }
    }

    /// A call has arrived to a service that turns it away.
    #[cold]
    pub(super) fn turned_away(&self, found: &Found, status: Status) -> Status {
        self.called(found);
        self.replied(found, &status, Duration::ZERO);
        status
    }

    /// A call has arrived to what is not served here.
    #[cold]
    pub(super) fn not_served(&self) -> Status {
        self.counters.not_served();
        Status::NotServed
    }

    fn meter_of<'a>(&self, local: &'a LocalService<Service>) -> &'a Served {
        local.handler().meter(|| self.meters.of(local.name()))
    }
}

impl Found {
    pub(super) fn service(&self) -> &Service {
        match self {
            Self::Registered(local) => local.handler(),
            Self::System(_, service) => service,
        }
    }

    fn takes_place_of_node(&self) -> bool {
        matches!(self, Self::Registered(_))
    }
}

impl Admission {
    /// Takes the places for a call that has arrived by then, or says why there is none.
    pub(super) fn take(
        found: Found,
        ledger: &Arc<Ledger>,
        arrived: Instant,
    ) -> Result<Self, (Found, Status)> {
        if let Err(none) = found.service().places().take() {
            let status = match none {
                NoPlace::Closed => Status::NotServed,
                NoPlace::Full if found.takes_place_of_node() && ledger.places.is_closed() => {
                    Status::ShuttingDown
                }
                NoPlace::Full => Status::Overloaded,
            };
            return Err((found, status));
        }
        if found.takes_place_of_node()
            && let Err(none) = ledger.places.take()
        {
            found.service().places().give_back();
            let status = match none {
                NoPlace::Full => Status::Overloaded,
                NoPlace::Closed => Status::ShuttingDown,
            };
            return Err((found, status));
        }
        ledger.called(&found);
        Ok(Self {
            found,
            ledger: Arc::clone(ledger),
            arrived,
            has_ended: false,
        })
    }

    pub(super) fn name(&self) -> &ServiceName {
        match &self.found {
            Found::Registered(local) => local.name(),
            Found::System(name, _) => name,
        }
    }

    pub(super) fn service(&self) -> &Service {
        self.found.service()
    }

    /// Enters how the call has ended.
    pub(super) fn ended(&mut self, reply: ReplyMessage) -> ReplyMessage {
        match &reply.status {
            Status::Ok => {}
            Status::Panicked => tracing::warn!(service = %self.name(), "handler panicked"),
            other => tracing::debug!(service = %self.name(), status = ?other, "call failed"),
        }
        self.enter(&reply.status);
        reply
    }

    fn enter(&mut self, status: &Status) {
        self.has_ended = true;
        self.ledger
            .replied(&self.found, status, self.arrived.elapsed());
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        // It was stopped: at its deadline, by its caller, or with its runtime.
        if !self.has_ended {
            self.enter(&Status::Aborted);
        }
        self.found.service().places().give_back();
        if self.found.takes_place_of_node() {
            self.ledger.places.give_back();
        }
    }
}
