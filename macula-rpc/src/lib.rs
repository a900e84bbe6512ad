//! Calls: codecs, handlers, provider selection and failover inside one deadline.
//!
//! A [`Server`] answers calls with the services of a registry; a [`Caller`] makes them: on this
//! node if it provides the service itself, else at a provider that the registry resolves and a
//! [`ProviderSelector`] chooses, and at another when that fails and is safe to repeat.
//!
//! One deadline covers the lookup, the dials and all attempts. Every [`CallError`] says whether the
//! call can have been carried out ([`CallError::executed`]).
//!
//! Whom a call goes to is yours to say, and the suite in `contract` (feature `contract`) puts what
//! you say to the test:
//!
//! ```
//! use macula_rpc::{ProviderSelector, Selection};
//!
//! /// Prefers providers that this node is connected to.
//! struct Connected;
//!
//! impl ProviderSelector for Connected {
//!     fn select(&self, selection: &Selection<'_>) -> Option<usize> {
//!         let candidates = selection.candidates;
//!         let connected = candidates.iter().position(|candidate| candidate.connected);
//!         connected.or((!candidates.is_empty()).then_some(0))
//!     }
//! }
//! # let service = "myapp.get_user".parse().unwrap();
//! # assert_eq!(Connected.select(&Selection::new(&service, 1, &[])), None);
//! ```

mod codec;
mod message;

mod access;
mod handler;
mod places;
mod service;

#[cfg(feature = "contract")]
pub mod contract;
mod selector;
mod wanted;

mod attempt;
mod budget;
mod failover;
mod health;
mod recent;

mod metrics;
mod scope;
mod trace;

mod caller;
mod server;

mod config;
mod error;

pub use access::Access;
pub use attempt::{Attempt, AttemptOutcome};
pub use budget::RetryBudget;
pub use caller::{Call, Caller, CallerStats, Reply};
pub use codec::{Codec, CodecError};
pub use config::{
    CallOptions, CallerConfig, CallerConfigError, DEFAULT_CALL_TIMEOUT, DEFAULT_DRAIN_TIMEOUT,
    DEFAULT_LOOKUP_PERCENT, DEFAULT_MAX_ATTEMPTS, DEFAULT_MAX_BODY_BYTES, DEFAULT_MAX_RUNNING,
    DEFAULT_MAX_RUNNING_PER_SERVICE, DEFAULT_RETIRE_TIMEOUT, MAX_CALL_TIMEOUT, ServerConfig,
    ServerError,
};
pub use error::{CallError, Part};
pub use handler::{
    CallContext, Handler, HandlerError, HandlerFailure, InboundCall, raw, typed, typed_with_context,
};
pub use health::{BreakerState, ProviderHealth};
pub use macula_registry::Source;
pub use macula_transport::Executed;
pub use message::{CallId, MAX_ERROR_BYTES, MAX_HEADER_BYTES};
pub use metrics::{
    Bucket, CalledStats, FailureClass, Latency, MAX_METERED_SERVICES, PerService, ServedStats,
    ServiceStats,
};
pub use selector::{
    Candidate, First, LeastLatency, MAX_COUNTED_SERVICES, ProviderSelector, Random, RoundRobin,
    Selection,
};
pub use server::{Server, ServerStats};
pub use service::{Runs, Service, ServiceOptions};
pub use trace::{TraceContext, TraceContextError};
pub use wanted::Wanted;
