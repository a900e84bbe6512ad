//! Makes calls: at this node if it provides the service, else at one of its providers.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Metadata, NodeId, ServiceName};
use macula_registry::{Registry, ResolveOptions, Resolved, Source};
use macula_transport::Endpoint;
use tokio::time::Instant;
use tracing::Span;

use crate::budget::Spending;
use crate::health::{Health, ServiceHealth};
use crate::{
    Attempt, CallError, CallId, CallOptions, CalledStats, CallerConfig, CallerConfigError, Codec,
    PerService, ProviderSelector, Server, Service, TraceContext, scope,
};

mod departures;
mod running;
mod stats;
mod verdict;

use running::{Known, RunningCall};
use stats::Counters;

pub use stats::CallerStats;

/// What to call, with which arguments.
#[derive(Debug, Clone)]
pub struct Call {
    /// The name.
    pub service: ServiceName,
    /// How `body` is encoded, and the result shall be.
    pub codec: Codec,
    /// The arguments.
    pub body: Bytes,
    /// How the call wants to be made.
    pub options: CallOptions,
}

impl Call {
    /// A call with the default options.
    pub fn new(service: ServiceName, codec: Codec, body: Bytes) -> Self {
        Self {
            service,
            codec,
            body,
            options: CallOptions::default(),
        }
    }
}

/// The result of a call, and how it came about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Reply {
    /// The result.
    pub body: Bytes,
    /// How `body` is encoded.
    pub codec: Codec,
    /// Who answered.
    pub provider: NodeId,
    /// How the provider was found.
    pub source: Source,
    /// What was tried, in order; the last one answered.
    pub attempts: Vec<Attempt>,
    /// How long the call took.
    pub elapsed: Duration,
}

/// Makes calls for one node. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Arc<Shared>);

struct Shared {
    endpoint: Endpoint,
    registry: Arc<Registry<Service>>,
    selector: Arc<dyn ProviderSelector>,
    server: Arc<Server>,
    config: CallerConfig,
    call_ids: CallIds,
    health: Health,
    spending: Spending,
    counters: Counters,
}

impl Caller {
    /// Brings together what calls need; `server` answers those to this node itself.
    ///
    /// # Errors
    /// [`CallerConfigError`] for settings that cannot work, or when there is no entropy.
    pub fn new(
        endpoint: Endpoint,
        registry: Arc<Registry<Service>>,
        selector: Arc<dyn ProviderSelector>,
        server: Arc<Server>,
        config: CallerConfig,
    ) -> Result<Self, CallerConfigError> {
        config.check()?;
        let call_ids = CallIds::new(config.seed)?;
        departures::watch(&endpoint, &registry);
        Ok(Self(Arc::new(Shared {
            endpoint,
            registry,
            selector,
            server,
            spending: Spending::new(config.retry_budget),
            config,
            call_ids,
            health: Health::default(),
            counters: Counters::default(),
        })))
    }

    /// Makes one call.
    ///
    /// # Errors
    /// [`CallError`], which says what was tried and whether the call may have run.
    ///
    /// # Cancel safety
    /// Dropping the future makes no further attempt and tells the provider, which aborts the
    /// handler. The call may have run.
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` has room for its arguments twice"
    )]
    pub fn call(&self, call: Call) -> impl Future<Output = Result<Reply, CallError>> + Send {
        async move {
            let (started, call) = (Instant::now(), &call);
            let health = self.0.health.of(started, &call.service);
            let under_way = health.meter.begin();
            let mut running = self.0.begin(call, &health, started);
            let span = running.span();
            let mut run = pin!(running.run());
            // `Instrument` would copy the whole future, which is longer than what most calls carry.
            let outcome = poll_fn(|cx| span.in_scope(|| run.as_mut().poll(cx))).await;
            match &outcome {
                Ok(reply) => under_way.ended(reply.elapsed, None),
                Err(error) => {
                    under_way.ended(started.elapsed(), Some(error.class()));
                    report(&call.service, error);
                }
            }
            outcome
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> CallerStats {
        self.stats_of(&self.service_stats())
    }

    /// The same, from a snapshot of [`service_stats`](Self::service_stats): so that both agree.
    pub fn stats_of(&self, services: &PerService<CalledStats>) -> CallerStats {
        self.0.counters.snapshot(&services.total())
    }

    /// What the calls of each service have come to.
    pub fn service_stats(&self) -> PerService<CalledStats> {
        self.0.health.called()
    }
}

impl Shared {
    /// A call that has not been tried yet.
    fn begin<'a>(
        &'a self,
        call: &'a Call,
        health: &'a ServiceHealth,
        started: Instant,
    ) -> RunningCall<'a> {
        let time = CallTime {
            started,
            deadline: scope::deadline(started, call.options.timeout),
        };
        let identity = CallIdentity::of(call, self.call_ids.next());
        RunningCall::new(self, call, health, identity, time)
    }

    /// What is known of the providers without asking the network.
    fn known(&self, call: &Call) -> Option<Known> {
        let mut scope = self.scope(call);
        let known = self.registry.resolve_now(&call.service, &scope);
        match &known {
            Some(Ok(Resolved::Local(service)))
                if !call
                    .options
                    .wanted
                    .admits(&self.endpoint.node_id(), service.metadata()) =>
            {
                scope.skip_local = true;
                self.registry.resolve_now(&call.service, &scope)
            }
            _ => known,
        }
    }

    /// Whether the call is to what this node tells of itself.
    fn is_to_system(&self, call: &Call) -> bool {
        let (own_id, options) = (self.endpoint.node_id(), &call.options);
        call.service.is_system()
            && options.provider.is_none_or(|pinned| pinned == own_id)
            && options.wanted.admits(&own_id, &Metadata::new())
            && self.server.serves_system(call.service.as_str())
    }

    /// Where to look for providers; what the cache knows counts unless the call wants news.
    fn scope(&self, call: &Call) -> ResolveOptions {
        let options = &call.options;
        let own_id = self.endpoint.node_id();
        ResolveOptions {
            skip_local: options.provider.is_some_and(|pinned| pinned != own_id),
            force_refresh: options.force_refresh,
            cache_ttl: options.cache_ttl,
            ..ResolveOptions::default()
        }
    }
}

/// What every attempt of a call carries.
#[derive(Debug, Clone, Copy)]
struct CallIdentity {
    id: CallId,
    /// The span that causes the call, if it belongs to a trace.
    parent: Option<TraceContext>,
}

impl CallIdentity {
    fn of(call: &Call, id: CallId) -> Self {
        Self {
            id,
            parent: call.options.trace.or_else(scope::trace),
        }
    }

    /// The call's own span, unless it begins a trace: that one the provider knows by the id.
    fn trace(self) -> Option<TraceContext> {
        self.parent
            .map(|parent| parent.child(self.id.as_u128() as u64))
    }

    fn span(self, service: &ServiceName) -> Span {
        let own = self
            .trace()
            .unwrap_or_else(|| TraceContext::of_call(self.id));
        tracing::debug_span!(
            "call",
            %service,
            trace_id = format_args!("{:032x}", own.trace_id()),
            span_id = format_args!("{:016x}", own.span_id()),
            // Written only when somebody listens.
            parent_id = self
                .parent
                .map(|parent| format!("{:016x}", parent.span_id())),
        )
    }
}

/// When a call began and when it ends.
#[derive(Debug, Clone, Copy)]
struct CallTime {
    started: Instant,
    deadline: Instant,
}

fn report(service: &ServiceName, error: &CallError) {
    if let CallError::Handler { .. } = error {
        tracing::debug!(%service, %error, "service answered with an error");
    } else {
        tracing::warn!(%service, %error, executed = ?error.executed(), "call failed");
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

/// Ids that no other call of this node has, nor of its earlier lives: a random half, and a count.
#[derive(Debug)]
struct CallIds {
    prefix: u64,
    count: AtomicU64,
}

impl CallIds {
    fn new(seed: Option<u64>) -> Result<Self, CallerConfigError> {
        let prefix = match seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|_| CallerConfigError::Entropy)?,
        };
        Ok(Self {
            prefix,
            count: AtomicU64::new(0),
        })
    }

    fn next(&self) -> CallId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        CallId::from_u128(u128::from(self.prefix) << 64 | u128::from(count))
    }
}
