//! The services of this node: name to handler.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::fast::RandomState;
use macula_core::{Delivery, Metadata, ServiceName};

use crate::AdvertiseError;
use crate::advertisement::{AdvertiseOptions, Past, Publication};
use crate::event::Events;

#[cfg(test)]
mod tests;

/// A service that this node provides. Cheap to clone.
pub struct LocalService<H>(Arc<Service<H>>);

struct Service<H> {
    name: ServiceName,
    handler: H,
    options: AdvertiseOptions,
    generation: u64,
}

impl<H> LocalService<H> {
    /// What it is called.
    pub fn name(&self) -> &ServiceName {
        &self.0.name
    }

    /// What answers its calls.
    pub fn handler(&self) -> &H {
        &self.0.handler
    }

    /// What it says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.0.options.metadata
    }

    /// How often a call to it may be carried out.
    pub fn delivery(&self) -> Delivery {
        self.0.options.delivery
    }

    /// Tells this registration from earlier and later ones of the same name: it only grows.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }
}

impl<H> Clone for LocalService<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The same registration, not only the same name.
impl<H> PartialEq for LocalService<H> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<H> Eq for LocalService<H> {}

impl<H> fmt::Debug for LocalService<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalService")
            .field("name", &self.0.name)
            .field("generation", &self.0.generation)
            .finish_non_exhaustive()
    }
}

/// All services of this node, at most so many. Nothing here ever expires.
///
/// Calls read a map that has no locks; registering and unregistering take one beside it.
///
/// Invariant: whenever nobody holds the lock, the map has the services behind it and no others.
pub(crate) struct Locals<H> {
    max_services: usize,
    served: Served<H>,
    services: Mutex<Services<H>>,
    events: Events,
}

/// Weak, because the map lets go of what was removed only some time later: a handler ends when
/// the last call that uses it does.
type Served<H> = papaya::HashMap<ServiceName, Weak<Service<H>>, RandomState>;

struct Services<H> {
    by_name: HashMap<ServiceName, Registered<H>>,
    generations: u64,
    /// The last number signed for any service that is gone, or in an earlier run: whatever is
    /// advertised next goes on after it, so that no withdrawal of old beats it.
    last_seq: u64,
    is_closed: bool,
}

impl<H> Services<H> {
    /// Closes the publication of a service that has just been taken out.
    ///
    /// Whoever took it drops it only without the lock: a handler may own what comes back here
    /// when it is dropped, such as the advertisement of another service.
    fn close(&mut self, taken: &Registered<H>) {
        self.last_seq = self.last_seq.max(taken.publication.close());
    }
}

/// A service, and how it is published.
pub(crate) struct Registered<H> {
    pub(crate) service: LocalService<H>,
    pub(crate) publication: Arc<Publication>,
}

/// What a registration came to.
pub(crate) struct Registration<H> {
    /// How the new service is published.
    pub(crate) publication: Arc<Publication>,
    /// What it replaced.
    pub(crate) replaced: Option<Registered<H>>,
}

impl<H> Locals<H> {
    /// At most so many services, whose numbers go on after `last_seq`.
    pub(crate) fn new(max_services: usize, last_seq: u64, events: Events) -> Self {
        let services = Services {
            by_name: HashMap::new(),
            generations: 0,
            last_seq,
            is_closed: false,
        };
        Self {
            max_services,
            served: Served::default(),
            services: Mutex::new(services),
            events,
        }
    }

    /// Looks a service up: a hash and a reference count.
    pub(crate) fn service<Q>(&self, name: &Q) -> Option<LocalService<H>>
    where
        ServiceName: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let service = self.served.pin().get(name)?.upgrade();
        match service {
            Some(service) => Some(LocalService(service)),
            None => self.replacement(name),
        }
    }

    /// What is in the place of a service that ended while it was looked up.
    #[cold]
    fn replacement<Q>(&self, name: &Q) -> Option<LocalService<H>>
    where
        ServiceName: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let services = self.lock();
        services.by_name.get(name).map(|r| r.service.clone())
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> Vec<ServiceName> {
        let mut names: Vec<_> = self.lock().by_name.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().by_name.len()
    }

    /// Registers a service in the place of an earlier one of its name.
    ///
    /// The earlier one's publication is closed in the same step, so that of two registrations at
    /// once the one that stays is also the one that signs last.
    pub(crate) fn register(
        &self,
        name: ServiceName,
        handler: H,
        options: AdvertiseOptions,
    ) -> Result<Registration<H>, AdvertiseError> {
        let mut services = self.lock();
        if services.is_closed {
            return Err(AdvertiseError::Closed);
        }
        let is_new = !services.by_name.contains_key(&name);
        if is_new && services.by_name.len() >= self.max_services {
            return Err(AdvertiseError::TooManyServices);
        }
        let replaced = services.by_name.remove(&name);
        if let Some(replaced) = &replaced {
            services.close(replaced);
        }
        services.generations += 1;
        let generation = services.generations;
        // One that is not listed never signs: what was signed before is withdrawn beside it.
        let signed = replaced.as_ref().filter(|_| options.listed);
        let publication = Arc::new(Publication::new(
            name.clone(),
            options.clone(),
            generation,
            Past {
                last_seq: services.last_seq,
                signed: signed.and_then(|r| r.publication.signed()),
            },
            self.events.clone(),
        ));
        let service = LocalService(Arc::new(Service {
            name: name.clone(),
            handler,
            options,
            generation,
        }));
        let registered = Registered {
            service,
            publication: Arc::clone(&publication),
        };
        let served = Arc::downgrade(&registered.service.0);
        self.served.pin().insert(name.clone(), served);
        services.by_name.insert(name, registered);
        drop(services);
        Ok(Registration {
            publication,
            replaced,
        })
    }

    /// Removes a service, if it is still the one of `generation`, and closes its publication.
    pub(crate) fn remove(
        &self,
        name: &ServiceName,
        generation: Option<u64>,
    ) -> Option<Registered<H>> {
        let mut services = self.lock();
        let found = services.by_name.get(name)?;
        if generation.is_some_and(|generation| generation != found.service.generation()) {
            return None;
        }
        let removed = services.by_name.remove(name)?;
        self.served.pin().remove(name);
        services.close(&removed);
        drop(services);
        Some(removed)
    }

    /// Removes every service, closes their publications and registers nothing from now on.
    pub(crate) fn close(&self) -> Vec<Arc<Publication>> {
        let mut services = self.lock();
        services.is_closed = true;
        self.served.pin().clear();
        let mut removed: Vec<_> = services.by_name.drain().map(|(_, r)| r).collect();
        removed.sort_unstable_by(|a, b| a.service.name().cmp(b.service.name()));
        for registered in &removed {
            registered.publication.close();
        }
        drop(services);
        removed.into_iter().map(|r| r.publication).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Services<H>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
