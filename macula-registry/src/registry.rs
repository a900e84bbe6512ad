//! The registry: local services, discovery and advertisements behind one face.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use macula_core::{Contact, NodeId, ServiceName};
use macula_dht::Dht;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::advertisement::{Ending, Herald, Publication, Release, Removal};
use crate::event::Events;
use crate::local::Locals;
use crate::resolve::{Elsewhere, Resolver};
use crate::{
    AdvertiseError, AdvertiseOptions, Advertisement, AdvertisementState, Identity, LocalService,
    RegistryConfig, RegistryConfigError, RegistryEvent, RegistryStats, ResolveError,
    ResolveOptions, Resolved, UnadvertiseError,
};

/// The services of this node and the providers of all others.
///
/// `H` is what answers the calls of a local service; the registry only keeps it.
pub struct Registry<H> {
    locals: Locals<H>,
    herald: Herald,
    resolver: Arc<Resolver>,
    events: Events,
    config: RegistryConfig,
    retire: OnceLock<Retire<H>>,
}

/// Begins to end a handler that answers no further call.
type Retire<H> = Box<dyn Fn(LocalService<H>) -> Ending + Send + Sync>;

impl<H: Clone + Send + Sync + 'static> Registry<H> {
    /// Starts a registry on the tokio runtime that this is called in; its tasks end with it.
    ///
    /// # Errors
    /// [`RegistryConfigError`] when the config contradicts itself.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        identity: Identity,
        dht: Arc<dyn Dht>,
        config: RegistryConfig,
    ) -> Result<Arc<Self>, RegistryConfigError> {
        config.check()?;
        let runtime = Handle::current();
        let events = Events::new();
        let resolver = Resolver::start(
            identity.realm.clone(),
            Arc::clone(&dht),
            config.clone(),
            runtime.clone(),
            events.clone(),
        );
        let last_seq = identity.sequences.first().saturating_sub(1);
        let herald = Herald::start(identity, dht, config.clone(), &runtime);
        Ok(Arc::new(Self {
            locals: Locals::new(config.max_services.get(), last_seq, events.clone()),
            herald,
            resolver,
            events,
            config,
            retire: OnceLock::new(),
        }))
    }

    /// Has every service given to `retire` that is unregistered or replaced from now on; whoever
    /// withdraws it waits for the end that comes back. Services that leave together with their node
    /// are not given. Only the first one counts; says whether this is it.
    ///
    /// `retire` is called without any lock, and must not block.
    pub fn on_unregistered(
        &self,
        retire: impl Fn(LocalService<H>) -> Ending + Send + Sync + 'static,
    ) -> bool {
        self.retire.set(Box::new(retire)).is_ok()
    }

    /// The service of that name, if this node provides it. Cheap enough for every inbound call,
    /// whose name need not be copied for it.
    pub fn local<Q>(&self, name: &Q) -> Option<LocalService<H>>
    where
        ServiceName: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.locals.service(name)
    }

    /// The names of all services that this node provides, sorted.
    pub fn locals(&self) -> Vec<ServiceName> {
        self.locals.names()
    }

    /// Registers a handler, then publishes that this node provides the service.
    ///
    /// An earlier advertisement of the same name is replaced. The answer comes once publishing was
    /// attempted, or after 10 s, or [`RegistryConfig::publish_timeout`] if that is shorter: how it
    /// went, and goes on, is the [`Advertisement`]'s state.
    ///
    /// # Errors
    /// [`AdvertiseError`] for what no retry mends; then nothing has changed.
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll withdraws the service, as dropping its
    /// [`Advertisement`] does.
    pub async fn advertise(
        self: &Arc<Self>,
        name: ServiceName,
        handler: H,
        options: AdvertiseOptions,
    ) -> Result<Advertisement, AdvertiseError> {
        self.herald.check(&name, &options)?;
        let is_listed = options.listed;
        let registration = self.locals.register(name, handler, options)?;
        let publication = registration.publication;
        let advertisement = Advertisement::new(&publication, self.release(&publication));
        let mut state = publication.state();
        if let Some(replaced) = registration.replaced {
            match is_listed {
                true => self.herald.replaced(&replaced.publication),
                false => drop(self.herald.withdraw(&replaced.publication)),
            }
            drop(self.retire(replaced.service));
        }
        if is_listed {
            self.herald.publish(&publication);
        }
        let attempted = |state: &AdvertisementState| *state != AdvertisementState::Publishing;
        // When the time is over the attempt goes on, and the state says so.
        let limit = self.config.publish_timeout.min(LONGEST_ADVERTISE);
        let _ = timeout(limit, state.wait_for(attempted)).await;
        Ok(advertisement)
    }

    /// Unregisters a service, then withdraws its record; answers whether there was one.
    ///
    /// Once this returns no call finds the handler, and those that had found it have ended as
    /// [`on_unregistered`](Self::on_unregistered) says. A withdrawal that fails is tried again in the
    /// background a few times; the record expires in any case.
    ///
    /// # Errors
    /// [`UnadvertiseError`]; the service is unregistered all the same.
    ///
    /// # Cancel safety
    /// The service is unregistered with the first poll; the withdrawal goes on in the background.
    pub async fn unadvertise(&self, name: &ServiceName) -> Result<bool, UnadvertiseError> {
        match self.remove(name, None) {
            Some(removal) => removal.ended().await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Unregisters every service for good, then withdraws their records, many at a time, all
    /// within [`RegistryConfig::withdraw_timeout`]; withdrawals that were begun before, such as
    /// those of dropped handles, are waited for. For draining a node.
    ///
    /// # Cancel safety
    /// Everything is unregistered with the first poll; withdrawals under way are dropped.
    pub async fn withdraw_all(&self) {
        let publications = self.locals.close();
        self.herald.withdraw_all(&publications).await;
    }

    /// Unregisters every service for good and withdraws nothing: the records expire. For a node
    /// that ends at once.
    pub fn close(&self) {
        self.locals.close();
        self.herald.close();
    }

    /// Who provides a name, as far as that is known without waiting: this node, or those in the
    /// cache, of whom a newer answer is looked for in the background when they are stale.
    ///
    /// `None` means that the network has to be asked, and counts as nothing yet;
    /// [`ResolveError::NotFound`] that it was asked a moment ago and nobody provides the name.
    pub fn resolve_now(
        &self,
        name: &ServiceName,
        options: &ResolveOptions,
    ) -> Option<Result<Resolved<H>, ResolveError>> {
        if !options.skip_local
            && let Some(service) = self.local(name)
        {
            self.resolver.answered_locally();
            return Some(Ok(Resolved::Local(service)));
        }
        let answer = self.resolver.cached(name, options)?;
        Some(answer.map(Elsewhere::of))
    }

    /// Finds who provides a name: this node, else those in the cache, else those in the network,
    /// else, when it cannot be asked, those that the connected peers know.
    ///
    /// However many wait for a name, it is looked up once.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`], [`ResolveError::Inconclusive`], [`ResolveError::TimedOut`] or
    /// [`ResolveError::Dht`].
    ///
    /// # Cancel safety
    /// A lookup goes on for others, and fills the cache, when the future is dropped.
    pub async fn resolve(
        &self,
        name: &ServiceName,
        options: &ResolveOptions,
    ) -> Result<Resolved<H>, ResolveError> {
        if let Some(known) = self.resolve_now(name, options) {
            return known;
        }
        let answer = self.resolver.discover(name, options).await;
        answer.map(Elsewhere::of)
    }

    /// Finds where a node can be dialled, by its id rather than by what it provides: for calls to
    /// that very node. Nothing is cached.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`], [`ResolveError::TimedOut`] or [`ResolveError::Dht`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the search to end by itself.
    pub async fn locate(
        &self,
        node_id: NodeId,
        timeout: Duration,
    ) -> Result<Contact, ResolveError> {
        self.resolver.locate(node_id, timeout).await
    }

    /// What happens from now on to this node's services and to the providers it knows.
    ///
    /// Who reads too slowly loses events, and hears how many; nobody is slowed by it.
    pub fn events(&self) -> broadcast::Receiver<RegistryEvent> {
        self.events.subscribe()
    }

    /// Removes a provider that proved dead, or not to serve the name, from the cache.
    ///
    /// A lookup that is under way does not bring the same record back, unless it finds no other
    /// provider; when the cache has none, it leaves out whichever record of this one it finds.
    pub fn remove_provider(&self, name: &ServiceName, node: &NodeId) {
        self.resolver.remove_provider(name, node);
    }

    /// Removes a node that has left the network from the cache, under every name that it provided.
    pub fn forget_provider(&self, node: &NodeId) {
        self.resolver.forget(node);
    }

    /// Removes what has expired from the cache, which also happens by itself; answers how much.
    pub fn prune_expired(&self) -> usize {
        self.resolver.prune_expired()
    }

    /// Empties the cache. A lookup that is under way still puts its answer there.
    pub fn clear_cache(&self) {
        self.resolver.clear();
    }

    /// What was counted so far.
    pub fn stats(&self) -> RegistryStats {
        RegistryStats {
            local_services: self.locals.len(),
            local_answers: self.resolver.local_answers(),
            cache: self.resolver.stats(),
            publish: self.herald.stats(),
        }
    }

    fn remove(&self, name: &ServiceName, generation: Option<u64>) -> Option<Removal> {
        let removed = self.locals.remove(name, generation)?;
        let publication = removed.publication;
        let node_id = self.herald.identity().node_id();
        match publication.last_seq() {
            Some(seq) => self.resolver.remove_record(name, &node_id, seq),
            None => self.resolver.remove_provider(name, &node_id),
        }
        Some(Removal {
            first_attempt: self.herald.withdraw(&publication),
            ending: self.retire(removed.service),
        })
    }

    fn retire(&self, service: LocalService<H>) -> Option<Ending> {
        self.retire.get().map(|retire| retire(service))
    }

    fn release(self: &Arc<Self>, publication: &Publication) -> Release {
        let registry: Weak<Self> = Arc::downgrade(self);
        let name = publication.name().clone();
        let generation = publication.generation();
        Box::new(move || registry.upgrade()?.remove(&name, Some(generation)))
    }
}

impl<H> Drop for Registry<H> {
    fn drop(&mut self) {
        // Whoever wants the records withdrawn drains first.
        self.locals.close();
    }
}

/// How long an application that advertises is kept waiting for the first attempt.
const LONGEST_ADVERTISE: Duration = Duration::from_secs(10);
