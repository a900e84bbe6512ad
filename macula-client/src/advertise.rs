//! An advertisement before it is made.

use std::future::IntoFuture;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use macula_core::{Delivery, NameError, ServiceName};
use macula_registry::{AdvertiseOptions, Advertisement};
use macula_rpc::{Access, Handler, Runs, Service, ServiceOptions};

use crate::{AdvertiseError, Client};

/// An advertisement to be made: set what it says, then await it.
///
/// The result is the [`Advertisement`]'s handle. Keep it: dropping it withdraws.
#[must_use = "nothing is advertised until this is awaited"]
pub struct Advertise {
    client: Client,
    name: Result<ServiceName, NameError>,
    handler: Arc<dyn Handler>,
    service: ServiceOptions,
    options: Result<AdvertiseOptions, AdvertiseError>,
}

impl Advertise {
    pub(crate) fn new(
        client: Client,
        name: Result<ServiceName, NameError>,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let options = Ok(AdvertiseOptions::default());
        Self {
            client,
            name,
            handler,
            service: ServiceOptions::default(),
            options,
        }
    }

    /// Says something about this provider to its callers; all of it together is bounded by
    /// [`MAX_METADATA_BYTES`](macula_core::MAX_METADATA_BYTES).
    pub fn metadata(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.try_set(|options| {
            options
                .metadata
                .insert(key, value)
                .map_err(AdvertiseError::Metadata)
        })
    }

    /// How long the advertisement counts unless it is renewed, which happens by itself:
    /// [`MIN_TTL`](macula_core::MIN_TTL) to [`MAX_TTL`](macula_core::MAX_TTL). Shorter forgets a
    /// crashed provider sooner and costs more renewals.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.set(|options| options.ttl = ttl)
    }

    /// Tells callers never to try a lost call again: see [`Delivery::AtMostOnce`].
    pub fn at_most_once(self) -> Self {
        self.set(|options| options.delivery = Delivery::AtMostOnce)
    }

    /// The most calls of this function at a time; more are answered as overload.
    pub fn concurrency(mut self, limit: NonZeroUsize) -> Self {
        self.service.max_running = limit;
        self
    }

    /// Runs the function on the node's own thread: see [`Runs::Inline`].
    pub fn inline(mut self) -> Self {
        self.service.runs = Runs::Inline;
        self
    }

    /// Who may call; everybody unless this is said.
    pub fn access(mut self, access: Access) -> Self {
        self.service.access = access;
        self
    }

    /// Publishes nothing: only who names this node can call it. The one way to provide for a node
    /// that nobody can dial, which has to be connected to its callers.
    pub fn unlisted(self) -> Self {
        self.set(|options| options.listed = false)
    }

    fn set(self, change: impl FnOnce(&mut AdvertiseOptions)) -> Self {
        self.try_set(|options| {
            change(options);
            Ok(())
        })
    }

    /// The first thing that goes wrong is reported when this is awaited.
    fn try_set(
        mut self,
        change: impl FnOnce(&mut AdvertiseOptions) -> Result<(), AdvertiseError>,
    ) -> Self {
        self.options = self
            .options
            .and_then(|mut options| change(&mut options).map(|()| options));
        self
    }

    async fn advertise(self) -> Result<Advertisement, AdvertiseError> {
        let name = self.name.map_err(AdvertiseError::Name)?;
        if name.is_system() {
            return Err(macula_registry::AdvertiseError::ReservedName.into());
        }
        let service = Service::with_options(self.handler, self.service);
        Ok(self
            .client
            .registry()
            .advertise(name, service, self.options?)
            .await?)
    }
}

/// Registers the handler, then publishes. Once the first publishing was tried, the handle says how
/// it went and goes on trying.
///
/// What was advertised under the name before is replaced at once. Its running calls may end within
/// [`ServerConfig::retire_timeout`](macula_rpc::ServerConfig::retire_timeout), after which they are
/// stopped; so may those of a handle that is dropped or withdrawn.
impl IntoFuture for Advertise {
    type Output = Result<Advertisement, AdvertiseError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.advertise())
    }
}
