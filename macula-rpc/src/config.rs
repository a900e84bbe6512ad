//! The settings of callers and servers, and the options of one call.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use macula_core::{Delivery, Metadata, NodeId};

use crate::{RetryBudget, TraceContext, Wanted};

/// Default of [`CallOptions::timeout`].
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A call waits no longer than this, whatever its options say: no endpoint handles it for longer.
pub const MAX_CALL_TIMEOUT: Duration = macula_transport::MAX_REQUEST_TIMEOUT;

/// Default of [`CallerConfig::max_attempts`].
pub const DEFAULT_MAX_ATTEMPTS: NonZeroU8 = match NonZeroU8::new(3) {
    Some(attempts) => attempts,
    None => NonZeroU8::MIN,
};

/// Default of [`CallerConfig::lookup_percent`].
pub const DEFAULT_LOOKUP_PERCENT: u8 = 40;

/// Default of [`ServerConfig::max_running`].
pub const DEFAULT_MAX_RUNNING: NonZeroUsize = non_zero(4096);

/// How many calls of one service run at a time unless it says otherwise; see
/// [`ServiceOptions::max_running`](crate::ServiceOptions::max_running).
pub const DEFAULT_MAX_RUNNING_PER_SERVICE: NonZeroUsize = non_zero(1024);

/// Default of [`ServerConfig::max_body_bytes`] and [`CallerConfig::max_body_bytes`]: what an
/// endpoint carries by default, less room for the header.
pub const DEFAULT_MAX_BODY_BYTES: NonZeroUsize =
    non_zero(16 * 1024 * 1024 - crate::message::MAX_HEADER_BYTES);

/// Default of [`ServerConfig::drain_timeout`].
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Default of [`ServerConfig::retire_timeout`].
pub const DEFAULT_RETIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// How one call wants to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOptions {
    /// How long the caller waits, discovery and every attempt included. Within a handler a little
    /// less than the handler's own caller does, so that the handler can still say what became of
    /// it. At most [`MAX_CALL_TIMEOUT`].
    pub timeout: Duration,
    /// How often the handler may run; the stricter of this and the service's record counts. Within
    /// a handler that answers a further attempt of its own call, once at most.
    pub delivery: Option<Delivery>,
    /// How many providers to try; the caller's setting when there is none.
    pub max_attempts: Option<NonZeroU8>,
    /// Only this node may answer, over its connection or at the addresses that are found for it.
    pub provider: Option<NodeId>,
    /// Which providers may answer.
    pub wanted: Wanted,
    /// What the handler is told besides the arguments.
    pub headers: Metadata,
    /// The trace and the span that cause the call. Within a handler, and without one, the
    /// handler's own.
    pub trace: Option<TraceContext>,
    /// Look the service up anew, whatever is cached.
    pub force_refresh: bool,
    /// How old a cached answer may be to count as fresh for this call, and for how long what it
    /// looks up does; the registry's setting when there is none. Zero neither reads nor fills the
    /// cache. See [`ResolveOptions::cache_ttl`](macula_registry::ResolveOptions::cache_ttl).
    pub cache_ttl: Option<Duration>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            timeout: DEFAULT_CALL_TIMEOUT,
            delivery: None,
            max_attempts: None,
            provider: None,
            wanted: Wanted::default(),
            headers: Metadata::default(),
            trace: None,
            force_refresh: false,
            cache_ttl: None,
        }
    }
}

/// Settings of a [`Caller`](crate::Caller).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerConfig {
    /// How many providers a call tries. More survives more failures and costs more load in an
    /// outage.
    pub max_attempts: NonZeroU8,
    /// How much of the remaining time one lookup may take, in percent: 1 to 99. The rest is for
    /// the attempts.
    pub lookup_percent: u8,
    /// How many attempts after the first all calls may make together.
    pub retry_budget: RetryBudget,
    /// The longest arguments, in bytes. Should fit the endpoint's message limit with
    /// [`MAX_HEADER_BYTES`](crate::MAX_HEADER_BYTES) to spare.
    pub max_body_bytes: NonZeroUsize,
    /// Begins the call ids; from the operating system's entropy when none is given.
    pub seed: Option<u64>,
}

impl Default for CallerConfig {
    fn default() -> Self {
        Self {
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            lookup_percent: DEFAULT_LOOKUP_PERCENT,
            retry_budget: RetryBudget::default(),
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            seed: None,
        }
    }
}

/// Why a caller cannot be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallerConfigError {
    /// A lookup needs some of the time and must leave some.
    #[error("lookup_percent must be between 1 and 99, not {0}")]
    LookupPercent(u8),
    /// The operating system gives no entropy for call ids.
    #[error("no entropy for call ids")]
    Entropy,
}

impl CallerConfig {
    pub(crate) fn check(&self) -> Result<(), CallerConfigError> {
        match self.lookup_percent {
            1..=99 => Ok(()),
            other => Err(CallerConfigError::LookupPercent(other)),
        }
    }
}

/// Settings of a [`Server`](crate::Server).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// How many handlers of this node run at a time; further calls are answered as overload.
    pub max_running: NonZeroUsize,
    /// The longest result, in bytes. Should fit the endpoint's message limit with
    /// [`MAX_HEADER_BYTES`](crate::MAX_HEADER_BYTES) to spare.
    pub max_body_bytes: NonZeroUsize,
    /// How long [`drain`](crate::Server::drain) waits for running handlers.
    pub drain_timeout: Duration,
    /// How long a service that is no longer advertised lets its handlers run before they are
    /// aborted.
    pub retire_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_running: DEFAULT_MAX_RUNNING,
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            retire_timeout: DEFAULT_RETIRE_TIMEOUT,
        }
    }
}

/// Why a server cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The endpoint has a server already.
    #[error("the endpoint already answers calls")]
    AlreadyServing(#[source] macula_transport::ProtocolTaken),
}

const fn non_zero(value: usize) -> NonZeroUsize {
    match NonZeroUsize::new(value) {
        Some(value) => value,
        None => NonZeroUsize::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_body_fits_what_an_endpoint_carries() {
        let carried = macula_transport::EndpointConfig::default().max_message_bytes;
        assert_eq!(
            DEFAULT_MAX_BODY_BYTES.get() + crate::MAX_HEADER_BYTES,
            carried.get()
        );
    }
}
