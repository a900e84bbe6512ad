//! Why advertising, unadvertising or resolving failed.

use macula_core::RecordError;
use macula_dht::DhtError;

/// Why a service was not advertised. Nothing is registered or changed, and trying again
/// unchanged fails again; what a retry can mend is [`Degraded`] instead.
///
/// [`Degraded`]: crate::AdvertisementState::Degraded
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdvertiseError {
    /// The node knows no address it can be dialled at, so nobody could use what it lists.
    /// Configure one, wait until one is known, or advertise unlisted.
    #[error("this node knows no address it can be reached at")]
    NoReachableAddress,
    /// [`RegistryConfig::max_services`](crate::RegistryConfig::max_services) is reached.
    #[error("this node provides as many services as it may")]
    TooManyServices,
    /// What was asked for cannot be signed, such as a time to live out of range.
    #[error("advertisement cannot be signed")]
    Record(#[from] RecordError),
    /// Names of the system are answered by every node and never listed.
    #[error("names of the system are never listed")]
    ReservedName,
    /// The registry withdrew everything for good.
    #[error("registry is closed")]
    Closed,
}

/// Why a service could not be unadvertised. Its handler is gone all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnadvertiseError {
    /// The withdrawal cannot be signed; the record counts until it expires.
    #[error("withdrawal cannot be signed")]
    Record(#[from] RecordError),
}

/// Why no provider was resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Nobody provides the service: enough of those who would know said so.
    #[error("nobody provides the service")]
    NotFound,
    /// Too few of those who would know answered to tell. Trying again may help.
    #[error("too few nodes answered to tell who provides the service")]
    Inconclusive,
    /// The caller's time was over first; the lookup goes on for whoever comes next.
    #[error("no answer in time")]
    TimedOut,
    /// The DHT could not be asked, and no connected peer knows a provider.
    #[error("the network could not be asked")]
    Dht(#[from] DhtError),
}
