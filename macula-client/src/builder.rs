//! What a client is made of, and putting it together.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use macula_core::{
    Addresses, ContactError, DialTarget, IdentityFile, NameError, Realm, SecretKey, SequenceStore,
    Timestamp, UnsavedSequence, WallClock,
};
use macula_dht::{Dht, DhtConfig, KademliaDht};
use macula_registry::{Identity, Registry, RegistryConfig};
use macula_rpc::{Caller, CallerConfig, LeastLatency, ProviderSelector, Server, ServerConfig};
use macula_transport::{
    Endpoint, EndpointConfig, Executor, NodeRuntime, QuicConfig, QuicTransport, Role, Transport,
};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::client::Parts;
use crate::error::OWN_ADDRESS_TIMEOUT;
use crate::{Client, ConnectError, system_clock};

/// Composes a [`Client`]; every setting has a default.
#[must_use = "a builder does nothing until `connect` is called"]
pub struct ClientBuilder {
    realm: Result<Realm, NameError>,
    bootstrap: Vec<Result<DialTarget, ContactError>>,
    require_bootstrap: bool,
    secret: Secret,
    listen: Vec<SocketAddr>,
    home: Home,
    transport: Option<Arc<dyn Transport>>,
    dht: Option<Arc<dyn Dht>>,
    selector: Option<Arc<dyn ProviderSelector>>,
    clock: WallClock,
    endpoint_config: EndpointConfig,
    dht_config: DhtConfig,
    registry_config: RegistryConfig,
    server_config: ServerConfig,
    caller_config: CallerConfig,
}

/// Where the node's own work runs.
enum Home {
    Start(Executor),
    Running(NodeRuntime),
}

/// Where the node's secret key comes from.
enum Secret {
    /// A new one for this run.
    Fresh,
    Given(SecretKey),
    /// The file stays locked while the client lives.
    File(IdentityFile),
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            realm: Ok(Realm::default()),
            bootstrap: Vec::new(),
            require_bootstrap: true,
            secret: Secret::Fresh,
            listen: vec![(Ipv4Addr::UNSPECIFIED, 0).into()],
            home: Home::Start(Executor::default()),
            transport: None,
            dht: None,
            selector: None,
            clock: system_clock(),
            endpoint_config: EndpointConfig::default(),
            dht_config: DhtConfig::default(),
            registry_config: RegistryConfig::default(),
            server_config: ServerConfig::default(),
            caller_config: CallerConfig::default(),
        }
    }
}

/// The identity, the network and how to enter it.
impl ClientBuilder {
    /// The namespace to live in; nodes of other realms are neither seen nor served.
    pub fn realm<T>(mut self, realm: T) -> Self
    where
        T: TryInto<Realm, Error: Into<NameError>>,
    {
        self.realm = realm.try_into().map_err(Into::into);
        self
    }

    /// Nodes to enter the network by: `<node-id>@host:port[,host:port]`, or `host:port` to learn
    /// the node id from whoever answers. None at all starts a network of its own.
    pub fn bootstrap<T>(mut self, targets: impl IntoIterator<Item = T>) -> Self
    where
        T: TryInto<DialTarget, Error: Into<ContactError>>,
    {
        let parse = |target: T| target.try_into().map_err(Into::into);
        self.bootstrap.extend(targets.into_iter().map(parse));
        self
    }

    /// Whether `connect` fails when no bootstrap peer can be reached (default), or starts all the
    /// same and keeps trying in the background.
    pub fn require_bootstrap(mut self, require: bool) -> Self {
        self.require_bootstrap = require;
        self
    }

    /// The identity of the node; without one, a new one is drawn for this run.
    pub fn secret_key(mut self, secret_key: SecretKey) -> Self {
        self.secret = Secret::Given(secret_key);
        self
    }

    /// The identity of the node, from a file that stays locked while the client lives.
    pub fn identity(mut self, file: IdentityFile) -> Self {
        self.secret = Secret::File(file);
        self
    }

    /// Where to listen; by default every IPv4 interface, at a port of the system's choice.
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = vec![addr];
        self
    }

    /// Listens at one more address, IPv6 beside IPv4 for example.
    pub fn also_listen(mut self, addr: SocketAddr) -> Self {
        self.listen.push(addr);
        self
    }

    /// The addresses that others shall dial, when they are not those we listen at.
    pub fn advertise_addresses(mut self, addrs: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.endpoint_config.advertise = addrs.into_iter().collect();
        self
    }

    /// Only dials: does not listen, serves no part of the DHT, and can be called only by peers it
    /// is connected to.
    pub fn client_role(mut self) -> Self {
        self.endpoint_config.role = Role::Client;
        self
    }
}

/// The parts and their settings.
impl ClientBuilder {
    /// Where the node's own work runs.
    pub fn executor(mut self, executor: Executor) -> Self {
        self.home = Home::Start(executor);
        self
    }

    /// Shares a running executor with other nodes.
    pub fn runtime(mut self, runtime: NodeRuntime) -> Self {
        self.home = Home::Running(runtime);
        self
    }

    /// Carries connections by something else than QUIC. Its identity becomes the node's: give the
    /// same [`secret_key`](Self::secret_key), which signs the records. What it is given is closed
    /// when the client ends.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Finds providers by something else than the Kademlia DHT of the nodes. Entering it is its own
    /// affair: bootstrap peers are not dialled then.
    pub fn dht(mut self, dht: Arc<dyn Dht>) -> Self {
        self.dht = Some(dht);
        self
    }

    /// Chooses among providers by something else than [`LeastLatency`].
    pub fn selector(mut self, selector: Arc<dyn ProviderSelector>) -> Self {
        self.selector = Some(selector);
        self
    }

    /// Tells the wall-clock time by something else than the system's clock.
    pub fn clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    /// Settings of the endpoint; its realm, role and advertised addresses are set by the builder.
    pub fn endpoint_config(mut self, config: EndpointConfig) -> Self {
        let EndpointConfig {
            role, advertise, ..
        } = self.endpoint_config;
        self.endpoint_config = EndpointConfig {
            role,
            advertise,
            ..config
        };
        self
    }

    /// Settings of the Kademlia DHT.
    pub fn dht_config(mut self, config: DhtConfig) -> Self {
        self.dht_config = config;
        self
    }

    /// Settings of the registry: cache, local services, advertisements.
    pub fn registry_config(mut self, config: RegistryConfig) -> Self {
        self.registry_config = config;
        self
    }

    /// Settings of the RPC server.
    pub fn server_config(mut self, config: ServerConfig) -> Self {
        self.server_config = config;
        self
    }

    /// Settings of the RPC caller.
    pub fn caller_config(mut self, config: CallerConfig) -> Self {
        self.caller_config = config;
        self
    }
}

impl ClientBuilder {
    /// Starts the node and enters the network.
    ///
    /// Must be called inside a tokio runtime; handlers will run on it.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing is left running.
    ///
    /// # Cancel safety
    /// Dropping the future stops what was started.
    pub async fn connect(mut self) -> Result<Client, ConnectError> {
        let realm = self.realm.clone().map_err(ConnectError::Realm)?;
        let bootstrap = std::mem::take(&mut self.bootstrap)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(ConnectError::Bootstrap)?;
        if !self.endpoint_config.advertise.are_dialable() {
            return Err(ConnectError::AdvertiseAddress);
        }
        let (require_bootstrap, client) = self.start(realm).await?;
        match client.join(&bootstrap).await {
            Err(error) if require_bootstrap => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "starting without a bootstrap peer"),
            Ok(()) => client.await_own_address(OWN_ADDRESS_TIMEOUT).await,
        }
        Ok(client)
    }

    /// Starts every layer on top of the one below.
    async fn start(self, realm: Realm) -> Result<(bool, Client), ConnectError> {
        let (secret_key, identity_file) = self.secret.open()?;
        let (identity_file, sequences) = open_sequences(identity_file, (self.clock)()).await?;
        if let Some(transport) = &self.transport
            && transport.node_id() != secret_key.node_id()
        {
            return Err(ConnectError::OtherIdentity);
        }
        let runtime = self.home.open()?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                let listens = self.endpoint_config.role == Role::Server;
                let listen = if listens { self.listen } else { Vec::new() };
                bind_quic(&runtime, &secret_key, listen).await?
            }
        };
        let endpoint_config = EndpointConfig {
            realm: realm.clone(),
            ..self.endpoint_config
        };
        let endpoint = Endpoint::prepare(runtime, transport.clone(), endpoint_config)?;
        let (dht, kademlia) = match self.dht {
            Some(dht) => (dht, None),
            None => {
                let kademlia =
                    KademliaDht::start(endpoint.clone(), self.clock.clone(), self.dht_config)?;
                (kademlia.clone() as Arc<dyn Dht>, Some(kademlia))
            }
        };
        let selector = self.selector.unwrap_or_else(|| default_selector(&endpoint));
        let identity = Identity {
            secret_key,
            realm,
            addresses: own_addresses(&endpoint),
            clock: self.clock,
            sequences,
        };
        let registry = Registry::new(identity, dht.clone(), self.registry_config)?;
        let server = Server::start(
            &endpoint,
            registry.clone(),
            Handle::current(),
            self.server_config,
        )?;
        let caller = Caller::new(
            endpoint.clone(),
            registry.clone(),
            selector,
            server.clone(),
            self.caller_config,
        )?;
        let parts = Parts {
            transport,
            endpoint: endpoint.clone(),
            dht,
            kademlia,
            registry,
            server,
            caller,
            started: Instant::now(),
            is_leaving: AtomicBool::new(false),
            _identity_file: identity_file,
        };
        let client = Client::new(parts).map_err(ConnectError::System)?;
        // Now that every protocol has its handler: peers of before a restart may be back at once.
        endpoint.begin_accepting();
        Ok((self.require_bootstrap, client))
    }
}

impl Home {
    fn open(self) -> Result<NodeRuntime, ConnectError> {
        match self {
            Self::Start(executor) => executor.start().map_err(ConnectError::Thread),
            Self::Running(runtime) => Ok(runtime),
        }
    }
}

impl Secret {
    fn open(self) -> Result<(SecretKey, Option<IdentityFile>), ConnectError> {
        Ok(match self {
            Self::Fresh => (SecretKey::generate()?, None),
            Self::Given(secret_key) => (secret_key, None),
            Self::File(file) => (file.secret_key().clone(), Some(file)),
        })
    }
}

/// Sequence numbers outlive the run where the identity does.
async fn open_sequences(
    identity_file: Option<IdentityFile>,
    now: Timestamp,
) -> Result<(Option<IdentityFile>, Arc<dyn SequenceStore>), ConnectError> {
    let Some(file) = identity_file else {
        return Ok((None, Arc::new(UnsavedSequence)));
    };
    // It waits for the disk.
    let opened = tokio::task::spawn_blocking(move || (file.sequence(now), file));
    let (sequences, file) = opened.await.map_err(|_| ConnectError::RuntimeEnded)?;
    Ok((Some(file), Arc::new(sequences?)))
}

/// Opens the sockets inside the node's runtime, so that the QUIC work lives there.
async fn bind_quic(
    runtime: &NodeRuntime,
    secret_key: &SecretKey,
    listen: Vec<SocketAddr>,
) -> Result<Arc<dyn Transport>, ConnectError> {
    let secret_key = secret_key.clone();
    let config = QuicConfig {
        listen,
        ..QuicConfig::default()
    };
    let bound = runtime.spawn(async move { QuicTransport::bind(&secret_key, config).await });
    let transport = bound.await.map_err(|_| ConnectError::RuntimeEnded)??;
    Ok(transport)
}

/// Nodes that start together must not draw the same pairs of providers.
fn default_selector(endpoint: &Endpoint) -> Arc<dyn ProviderSelector> {
    let node_id = endpoint.node_id();
    let (seed, _) = node_id.as_bytes().split_at(size_of::<u64>());
    let seed = seed
        .iter()
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    Arc::new(LeastLatency::new(seed))
}

fn own_addresses(endpoint: &Endpoint) -> Arc<dyn Fn() -> Addresses + Send + Sync> {
    let endpoint = endpoint.clone();
    Arc::new(move || endpoint.addresses())
}
