//! Why a client could not be started or asked for something.

use std::io;
use std::time::Duration;

use macula_core::{ContactError, IdentityError, MetadataError, NameError};
use macula_dht::{DhtConfigError, JoinError};
use macula_registry::{RegistryConfigError, ResolveError};
use macula_rpc::{CallerConfigError, ServerError};
use macula_transport::{EndpointConfigError, QuicError};

/// Why a client did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The realm is not a name.
    #[error("bad realm")]
    Realm(#[source] NameError),
    /// A bootstrap peer's contact cannot be read.
    #[error("bad bootstrap contact")]
    Bootstrap(#[source] ContactError),
    /// The given addresses cannot be dialled by others: each needs a specific IP and a port.
    #[error("the advertised address needs a specific IP and a port")]
    AdvertiseAddress,
    /// No identity could be made.
    #[error("no identity")]
    Identity(#[from] IdentityError),
    /// The given transport proves another identity than the secret key, whose records would lead
    /// callers to nobody.
    #[error("the transport has another identity than the secret key")]
    OtherIdentity,
    /// The node's own thread could not be started.
    #[error("cannot start the node's thread")]
    Thread(#[source] io::Error),
    /// The QUIC sockets could not be opened.
    #[error("cannot open the node's sockets")]
    Quic(#[from] QuicError),
    /// The endpoint refuses its configuration.
    #[error("bad endpoint configuration")]
    Endpoint(#[from] EndpointConfigError),
    /// The DHT refuses its configuration.
    #[error("bad DHT configuration")]
    Dht(#[from] DhtConfigError),
    /// The registry refuses its configuration.
    #[error("bad registry configuration")]
    Registry(#[from] RegistryConfigError),
    /// The registry's limit leaves no room for what every node answers about itself.
    #[error("cannot provide the services of the system")]
    System(#[source] macula_registry::AdvertiseError),
    /// The RPC server refuses its configuration.
    #[error("cannot start the RPC server")]
    Server(#[from] ServerError),
    /// The RPC caller refuses its configuration.
    #[error("bad caller configuration")]
    Caller(#[from] CallerConfigError),
    /// No bootstrap peer could be reached. See
    /// [`require_bootstrap`](crate::ClientBuilder::require_bootstrap) for starting all the same.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The node's own runtime ended while starting.
    #[error("the node's runtime ended")]
    RuntimeEnded,
}

/// Why a function is not advertised. Its handler is not registered either.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdvertiseError {
    /// The name is not a service name.
    #[error("bad service name")]
    Name(#[source] NameError),
    /// The metadata is too large.
    #[error("bad metadata")]
    Metadata(#[source] MetadataError),
    /// The registry refuses it.
    #[error(transparent)]
    Refused(#[from] macula_registry::AdvertiseError),
}

/// Why a function is still advertised. Its handler is gone all the same, if the name was one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnadvertiseError {
    /// The name is not a service name.
    #[error("bad service name")]
    Name(#[source] NameError),
    /// The registry could not withdraw the record, which counts until it expires.
    #[error(transparent)]
    Refused(#[from] macula_registry::UnadvertiseError),
}

/// Why the providers of a name could not be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvidersError {
    /// The name is not a service name.
    #[error("bad service name")]
    Name(#[source] NameError),
    /// The registry found none, or could not look.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

/// How long `connect` waits for a peer to prove the node's own address, when the node listens on
/// an unspecified IP and was not told which address to advertise.
pub(crate) const OWN_ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);
