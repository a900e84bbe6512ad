//! The life of an advertisement: published now, refreshed in time, withdrawn in the end.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use macula_core::{Delivery, Metadata, ServiceName};
use macula_dht::DhtError;
use tokio::sync::watch;

use crate::UnadvertiseError;

mod herald;
mod means;
mod numbers;
mod publication;

mod publisher;
mod timetable;

mod withdrawals;
mod withdrawer;

mod agenda;
mod rounds;
mod schedule;

pub(crate) use herald::Herald;
pub(crate) use publication::{Past, Publication};
pub(crate) use withdrawer::FirstAttempt;

/// How long a record counts unless it is refreshed, when nothing else is asked for.
pub const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// What is advertised besides the name.
#[derive(Debug, Clone)]
pub struct AdvertiseOptions {
    /// What the service says about itself; part of every record.
    pub metadata: Metadata,
    /// How long a record counts unless it is refreshed: [`MIN_TTL`](macula_core::MIN_TTL) ..=
    /// [`MAX_TTL`](macula_core::MAX_TTL). A longer one costs less traffic and keeps a dead
    /// provider listed for longer.
    pub ttl: Duration,
    /// How often a call may be carried out.
    pub delivery: Delivery,
    /// Whether the DHT is told. Otherwise the service answers only over connections that exist.
    pub listed: bool,
}

impl Default for AdvertiseOptions {
    fn default() -> Self {
        Self {
            metadata: Metadata::default(),
            ttl: DEFAULT_TTL,
            delivery: Delivery::default(),
            listed: true,
        }
    }
}

/// How an advertisement is doing. The service answers calls in every state but `Withdrawn`.
///
/// `Publishing` turns into `Published` or `Degraded` with the first attempt; these two turn into
/// each other as attempts succeed and fail; `Unlisted` stays; each ends as `Withdrawn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdvertisementState {
    /// The first attempt to publish is under way.
    Publishing,
    /// The latest attempt succeeded; the next one comes before the record expires.
    Published {
        /// How many nodes acknowledged it, this one included if it holds it for others.
        holders: usize,
        /// How many had refused it by then because they are full. Few holders beside many that
        /// are full mean a record that is hard to find, or lost with the next node.
        full: usize,
    },
    /// The latest attempt failed; more follow by themselves, ever less often, unless the cause
    /// is [`DhtError::Closed`]. An earlier record counts until it expires.
    Degraded {
        /// Why the latest attempt failed.
        cause: DhtError,
        /// How many attempts failed in a row.
        failures: u32,
    },
    /// The service is registered and the DHT is not told, as was asked for.
    Unlisted,
    /// The service is unregistered, or a newer advertisement has taken its place.
    Withdrawn,
}

/// Keeps a service advertised; dropping it withdraws the service in the background.
///
/// Once a newer advertisement has taken the place of this one, it withdraws nothing.
#[must_use = "dropping an advertisement withdraws the service"]
pub struct Advertisement {
    name: ServiceName,
    state: watch::Receiver<AdvertisementState>,
    release: Option<Release>,
}

/// Unregisters the service, if it is still the same one, and starts to withdraw its record.
pub(crate) type Release = Box<dyn FnOnce() -> Option<Removal> + Send + Sync>;

/// The end of a handler's running calls; it comes whether or not anybody waits for it.
pub type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A service that is unregistered, on its way out.
pub(crate) struct Removal {
    /// To withdraw its record.
    pub(crate) first_attempt: FirstAttempt,
    /// Of its handler.
    pub(crate) ending: Option<Ending>,
}

impl Removal {
    /// Waits until it is out.
    pub(crate) async fn ended(self) -> Result<(), UnadvertiseError> {
        let ending = async {
            if let Some(ending) = self.ending {
                ending.await;
            }
        };
        let (withdrawn, ()) = tokio::join!(self.first_attempt.ended(), ending);
        withdrawn
    }
}

impl Advertisement {
    pub(crate) fn new(publication: &Publication, release: Release) -> Self {
        Self {
            name: publication.name().clone(),
            state: publication.state(),
            release: Some(release),
        }
    }

    /// What is advertised.
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// How it is doing.
    pub fn state(&self) -> AdvertisementState {
        *self.state.borrow()
    }

    /// Waits until the state is another one than when this was last awaited, or `Withdrawn`.
    ///
    /// # Cancel safety
    /// No change is lost by dropping the future.
    pub async fn changed(&mut self) -> AdvertisementState {
        if self.state() != AdvertisementState::Withdrawn {
            // An error means that the registry is gone: the last state stands.
            let _ = self.state.changed().await;
        }
        *self.state.borrow_and_update()
    }

    /// Unregisters the service, then withdraws its record, and waits for the calls that run; see
    /// [`Registry::unadvertise`](crate::Registry::unadvertise). A handler that does this to its own
    /// service waits for itself.
    ///
    /// The answer is whether there was anything to withdraw: not so once the service was
    /// unadvertised or advertised anew, or when the registry is gone.
    ///
    /// # Errors
    /// [`UnadvertiseError`]; the service is unregistered all the same.
    ///
    /// # Cancel safety
    /// Nothing happens before the first poll but what dropping does; the rest goes on in the
    /// background if the future is dropped.
    pub async fn withdraw(mut self) -> Result<bool, UnadvertiseError> {
        match self.release.take().and_then(|release| release()) {
            Some(removal) => removal.ended().await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Gives up the handle and keeps the service advertised, until it is unadvertised by name.
    pub fn detach(mut self) {
        self.release = None;
    }
}

impl Drop for Advertisement {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for Advertisement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Advertisement")
            .field("name", &self.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
