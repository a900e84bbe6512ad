//! The client: a node of the network, and the two verbs on top of it.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, DialTarget, IdentityFile, Key, NameError, NodeId, Realm, ServiceName};
use macula_dht::message::MAX_CLAIMS;
use macula_dht::{Dht, FindOptions, Found, JoinError, KademliaDht, Scope};
use macula_registry::{
    AdvertiseError, Registry, RegistryEvent, ResolveError, ResolveOptions, Resolved,
};
use macula_rpc::{Caller, Codec, Handler, HandlerError, Server, Service};
use macula_transport::{CloseCode, Endpoint, Peer, PeerEvent, Role, Transport};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::time::{self, Instant};

use crate::system::NodeStats;
use crate::{Advertise, CallBuilder, ClientBuilder, ProvidersError, UnadvertiseError, system};

/// A running node: advertises functions and calls those of others.
///
/// Cheap to clone; all clones are the same node. The node ends with [`shutdown`](Self::shutdown),
/// or in the background when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    node: Arc<Node>,
}

/// A [`Client`] that does not keep its node alive.
#[derive(Clone)]
pub struct WeakClient(Weak<Node>);

impl WeakClient {
    /// The client, while its node is there.
    pub fn upgrade(&self) -> Option<Client> {
        let node = self.0.upgrade()?;
        Some(Client { node })
    }
}

/// The layers of a node, bottom up.
pub(crate) struct Parts {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) endpoint: Endpoint,
    pub(crate) dht: Arc<dyn Dht>,
    /// The same, if it is ours.
    pub(crate) kademlia: Option<Arc<KademliaDht>>,
    pub(crate) registry: Arc<Registry<Service>>,
    pub(crate) server: Arc<Server>,
    pub(crate) caller: Caller,
    pub(crate) started: Instant,
    pub(crate) is_leaving: AtomicBool,
    /// Held for its lock.
    pub(crate) _identity_file: Option<IdentityFile>,
}

impl Parts {
    /// The names that the user provides, sorted.
    pub(crate) fn provided(&self) -> Vec<ServiceName> {
        let mut names = self.registry.locals();
        names.retain(|name| !name.is_system());
        names
    }
}

pub(crate) struct Node {
    pub(crate) parts: Parts,
}

impl Client {
    /// Starts to compose a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn new(parts: Parts) -> Result<Self, AdvertiseError> {
        let node = Arc::new(Node { parts });
        system::serve(&node)?;
        Ok(Self { node })
    }

    /// A handle that does not keep the node alive: for handlers that call in turn. One that held a
    /// `Client` would keep the node that holds it.
    pub fn downgrade(&self) -> WeakClient {
        WeakClient(Arc::downgrade(&self.node))
    }

    fn parts(&self) -> &Parts {
        &self.node.parts
    }

    pub(crate) fn registry(&self) -> &Arc<Registry<Service>> {
        &self.parts().registry
    }

    /// Who this node is.
    pub fn node_id(&self) -> NodeId {
        self.parts().endpoint.node_id()
    }

    /// The namespace it lives in.
    pub fn realm(&self) -> &Realm {
        self.parts().endpoint.realm()
    }

    /// How others reach it: give this to another client's
    /// [`bootstrap`](ClientBuilder::bootstrap). Without addresses while none is known.
    pub fn contact(&self) -> Contact {
        Contact {
            node_id: self.node_id(),
            addresses: self.parts().endpoint.addresses(),
        }
    }

    /// The peers it is connected to.
    pub fn peers(&self) -> Vec<Peer> {
        self.parts().endpoint.peers()
    }
}

/// Providing.
impl Client {
    /// Advertises a function under a name; await the answer to do so.
    ///
    /// The function runs in a task of its own for every call, on the runtime that the client was
    /// connected in. Its arguments and result are decoded and encoded for the caller, from
    /// postcard or JSON. An error that it returns reaches the caller as
    /// [`CallError::Handler`](crate::CallError::Handler).
    pub fn advertise<N, Req, Resp, F, Fut>(&self, name: N, handler: F) -> Advertise
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
        Req: DeserializeOwned + Send + 'static,
        Resp: Serialize + Send + 'static,
        F: Fn(Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, HandlerError>> + Send + 'static,
    {
        self.advertise_handler(name, macula_rpc::typed(handler))
    }

    /// Advertises a function from bytes to bytes under a name.
    pub fn advertise_raw<N, F, Fut>(&self, name: N, handler: F) -> Advertise
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
        F: Fn(Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Bytes, HandlerError>> + Send + 'static,
    {
        self.advertise_handler(name, macula_rpc::raw(handler))
    }

    /// Advertises any [`Handler`] under a name.
    pub fn advertise_handler<N>(&self, name: N, handler: Arc<dyn Handler>) -> Advertise
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
    {
        Advertise::new(self.clone(), name.try_into().map_err(Into::into), handler)
    }

    /// Stops providing a name; says whether it was provided.
    ///
    /// # Errors
    /// [`UnadvertiseError`].
    ///
    /// # Cancel safety
    /// The handler is gone at once; dropping the future leaves the rest to the background.
    pub async fn unadvertise<N>(&self, name: N) -> Result<bool, UnadvertiseError>
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
    {
        let name = name
            .try_into()
            .map_err(|error| UnadvertiseError::Name(error.into()))?;
        // What every node answers is not the user's to take back.
        Ok(!name.is_system() && self.parts().server.unadvertise(&name).await?)
    }

    /// The names that this node provides, sorted.
    pub fn advertised(&self) -> Vec<ServiceName> {
        self.parts().provided()
    }
}

/// Calling.
impl Client {
    /// Calls a function by its name; await the answer for the result.
    ///
    /// Arguments and result travel as postcard.
    pub fn call<N, Req, Resp>(&self, name: N, args: &Req) -> CallBuilder<Resp>
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
        Req: Serialize + ?Sized,
        Resp: DeserializeOwned,
    {
        self.call_with(Codec::Postcard, name, args)
    }

    /// Calls a function by its name; arguments and result travel as JSON.
    pub fn call_json<N, Req, Resp>(&self, name: N, args: &Req) -> CallBuilder<Resp>
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
        Req: Serialize + ?Sized,
        Resp: DeserializeOwned,
    {
        self.call_with(Codec::Json, name, args)
    }
}

impl Client {
    /// Calls a function by its name; arguments and result are bytes that only both ends understand.
    pub fn call_raw<N>(&self, name: N, body: Bytes) -> CallBuilder<Bytes>
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into);
        let caller = self.parts().caller.clone();
        CallBuilder::new(caller, Codec::Raw, name, Ok(body), |_, bytes| Ok(bytes))
    }

    fn call_with<N, Req, Resp>(&self, codec: Codec, name: N, args: &Req) -> CallBuilder<Resp>
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
        Req: Serialize + ?Sized,
        Resp: DeserializeOwned,
    {
        let name = name.try_into().map_err(Into::into);
        let caller = self.parts().caller.clone();
        CallBuilder::new(caller, codec, name, codec.encode(args), |codec, body| {
            codec.decode(&body)
        })
    }

    /// Finds which other nodes provide a name, from the cache or from the network.
    ///
    /// # Errors
    /// [`ProvidersError`] when the name is bad, nobody provides it, or nobody can be asked.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the lookup to those who wait for the same name.
    pub async fn providers<N>(&self, name: N) -> Result<Resolved<Service>, ProvidersError>
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
    {
        let name = name
            .try_into()
            .map_err(|error| ProvidersError::Name(error.into()))?;
        let options = ResolveOptions {
            skip_local: true,
            ..ResolveOptions::default()
        };
        Ok(self.registry().resolve(&name, &options).await?)
    }

    /// Asks the network who provides a name, past the cache, and tells every request on the way
    /// in [`Found::trace`].
    ///
    /// That nobody provides the name, or that too few answered to tell, is no error here: it is
    /// [`Found::outcome`].
    ///
    /// # Errors
    /// [`ProvidersError`] when the name is bad, or nobody can be asked.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the lookup to end by itself.
    pub async fn trace<N>(&self, name: N) -> Result<Found, ProvidersError>
    where
        N: TryInto<ServiceName, Error: Into<NameError>>,
    {
        let name = name
            .try_into()
            .map_err(|error| ProvidersError::Name(error.into()))?;
        let options = FindOptions {
            want: TRACE_WANTS,
            timeout: ResolveOptions::default().timeout,
            scope: Scope::Network,
            trace: true,
        };
        let found = self
            .parts()
            .dht
            .find(Key::of_service(self.realm(), &name), options);
        Ok(found.await.map_err(ResolveError::from)?)
    }
}

/// Observing and ending.
impl Client {
    /// Which peers come and go. A receiver that lags loses events, and slows nobody.
    pub fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.parts().endpoint.events()
    }

    /// What becomes of this node's services, and which providers of others come and go. A receiver
    /// that lags loses events, and slows nobody.
    pub fn registry_events(&self) -> broadcast::Receiver<RegistryEvent> {
        self.registry().events()
    }

    /// What was counted so far: connections, lookups, advertisements, and the calls made and
    /// answered, service by service.
    pub fn stats(&self) -> NodeStats {
        system::stats(self.parts())
    }

    /// Leaves the network in order: withdraws every advertisement, refuses new calls, waits for the
    /// running ones, closes. Bounded in time; calling it twice is harmless.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the node half closed; call it again to finish.
    pub async fn shutdown(&self) {
        let parts = self.parts();
        parts.is_leaving.store(true, Ordering::Relaxed);
        parts.registry.withdraw_all().await;
        parts.server.drain().await;
        if let Some(kademlia) = &parts.kademlia {
            kademlia.shutdown().await;
        }
        parts.endpoint.shutdown().await;
    }

    /// Enters the network by the given peers.
    pub(crate) async fn join(&self, bootstrap: &[DialTarget]) -> Result<(), JoinError> {
        match &self.parts().kademlia {
            Some(kademlia) if !bootstrap.is_empty() => {
                kademlia.join(bootstrap).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Gives the peers a moment to prove the node's own address, if it has to be found out.
    pub(crate) async fn await_own_address(&self, timeout: Duration) {
        let endpoint = &self.parts().endpoint;
        let is_alone = endpoint.peers().is_empty();
        if endpoint.role() == Role::Server && !is_alone {
            let reachable = time::timeout(timeout, endpoint.reachable()).await;
            if reachable.is_err() {
                tracing::warn!("no address of this node is known: it cannot be found by others");
            }
        }
    }

    /// Stops as a crash would: nothing is withdrawn and nobody is told.
    pub(crate) async fn crash(&self) {
        self.registry().close();
        self.parts().transport.close(CloseCode::Done).await;
        self.parts().endpoint.shutdown().await;
    }
}

/// What is not shut down in order is closed in the background, as far as its runtimes still run.
impl Drop for Node {
    fn drop(&mut self) {
        let registry = Arc::clone(&self.parts.registry);
        let endpoint = self.parts.endpoint.clone();
        let kademlia = self.parts.kademlia.clone();
        let runtime = endpoint.runtime().clone();
        runtime.spawn(async move {
            // While the DHT still runs: dropped handles may be about to withdraw.
            registry.withdraw_all().await;
            if let Some(kademlia) = kademlia {
                kademlia.shutdown().await;
            }
            endpoint.shutdown().await;
        });
    }
}

/// A trace is there to see how far a search gets, not to be quick.
const TRACE_WANTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(MAX_CLAIMS);
