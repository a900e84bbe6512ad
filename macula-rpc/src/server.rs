//! Answers calls: those of peers, and those of this node to its own services.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::{NodeId, Realm, ServiceName};
use macula_registry::{Registry, UnadvertiseError};
use macula_transport::{Endpoint, InboundRequest, ProtocolId, Refusal, RequestHandler};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::message::{CallHeader, CallMessage, ErrorText, ReplyMessage, Status};
use crate::scope::{self, Inherited};
use crate::{
    CallContext, Codec, InboundCall, Runs, ServerConfig, ServerError, Service, TraceContext,
};

mod run;
mod stats;

use run::Admission;
use stats::Counters;

pub use stats::ServerStats;

/// Runs the handlers of a node's services, each call in a task of its own.
pub struct Server {
    node_id: NodeId,
    realm: Realm,
    registry: Arc<Registry<Service>>,
    handlers: Handle,
    config: ServerConfig,
    /// One permit per running handler, whatever its service.
    permits: Arc<Semaphore>,
    draining: AtomicBool,
    counters: Counters,
}

impl Server {
    /// Answers the calls that reach an endpoint with the services of a registry.
    ///
    /// Handlers run on the runtime `handlers`; what supervises them runs on the endpoint's. Once
    /// nobody holds the server any more, the endpoint refuses calls.
    ///
    /// # Errors
    /// [`ServerError::AlreadyServing`] when the endpoint has a server, [`ServerError::MaxRunning`]
    /// for a limit that cannot be counted.
    pub fn start(
        endpoint: &Endpoint,
        registry: Arc<Registry<Service>>,
        handlers: Handle,
        config: ServerConfig,
    ) -> Result<Arc<Self>, ServerError> {
        config.check()?;
        let server = Arc::new(Self {
            node_id: endpoint.node_id(),
            realm: endpoint.realm().clone(),
            registry,
            handlers,
            permits: Arc::new(Semaphore::new(config.max_running.get())),
            config,
            draining: AtomicBool::new(false),
            counters: Counters::default(),
        });
        endpoint
            .register_inline(ProtocolId::RPC, Arc::new(Inbound(Arc::downgrade(&server))))
            .map_err(ServerError::AlreadyServing)?;
        Ok(server)
    }

    /// Takes a service back: no handler of it runs any more when this returns.
    ///
    /// The handler is gone first, so that callers are told so; then the record is withdrawn; then
    /// running calls may end within [`ServerConfig::retire_timeout`], after which they are
    /// aborted. Says whether the service was there.
    ///
    /// # Errors
    /// Those of [`Registry::unadvertise`]; the handlers have ended all the same.
    ///
    /// # Cancel safety
    /// The handler may be gone and its record not withdrawn yet; call it again.
    pub async fn unadvertise(&self, name: &ServiceName) -> Result<bool, UnadvertiseError> {
        let local = self.registry.local(name);
        let outcome = self.registry.unadvertise(name).await;
        if let Some(local) = local {
            let ended = local.handler().retire(self.config.retire_timeout).await;
            if !ended {
                tracing::warn!(service = %name, "a handler blocks its thread and cannot be stopped");
            }
        }
        outcome
    }

    /// Refuses every further call, with a reply that says that this node shuts down.
    pub fn stop_admitting(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Stops admitting, then waits for the running handlers, at most for
    /// [`ServerConfig::drain_timeout`]. Says whether all have ended. Twice is harmless.
    ///
    /// # Cancel safety
    /// The server admits nothing any more; running handlers go on.
    pub async fn drain(&self) -> bool {
        self.stop_admitting();
        let permits = u32::try_from(self.config.max_running.get()).unwrap_or(u32::MAX);
        let all = self.permits.acquire_many(permits);
        tokio::time::timeout(self.config.drain_timeout, all)
            .await
            .is_ok()
    }

    /// What was counted so far.
    pub fn stats(&self) -> ServerStats {
        let running = self.config.max_running.get() - self.permits.available_permits();
        self.counters.snapshot(running)
    }

    /// Answers a call of this node itself, in the same way as a peer's.
    pub(crate) async fn serve_local(&self, call: CallMessage, deadline: Instant) -> ReplyMessage {
        self.serve(self.node_id, call, deadline).await
    }

    async fn serve(&self, caller: NodeId, call: CallMessage, deadline: Instant) -> ReplyMessage {
        self.counters.call();
        let context = self.context(caller, &call.header, deadline);
        let reply = match self.admit(&call, &context) {
            Ok((service, codec, admission)) => {
                let inbound = InboundCall {
                    context,
                    codec,
                    body: call.body,
                };
                self.run(&call.header.service, &service, inbound, admission)
                    .await
            }
            Err(status) => ReplyMessage::failed(status),
        };
        self.counters.replied(&reply.status);
        reply
    }

    fn context(&self, caller: NodeId, header: &CallHeader, deadline: Instant) -> CallContext {
        let of_call = || TraceContext::of_call(header.call_id);
        let cause = header.trace.unwrap_or_else(of_call);
        CallContext {
            caller,
            realm: self.realm.clone(),
            deadline,
            call_id: header.call_id,
            attempt: header.attempt,
            headers: header.headers.clone(),
            cause,
            trace: cause.child(header.attempt.into()),
        }
    }

    /// Finds the service and takes the permits for one call of it.
    fn admit(
        &self,
        call: &CallMessage,
        context: &CallContext,
    ) -> Result<(Service, Codec, Admission), Status> {
        let service = self
            .registry
            .local(&call.header.service)
            .ok_or(Status::NotServed)?
            .handler()
            .clone();
        if !service.access().admits(context) {
            return Err(Status::Denied);
        }
        let codec = Codec::from_id(call.header.codec).ok_or_else(|| {
            let reason = format!("unknown codec {}", call.header.codec);
            Status::BadArguments(ErrorText::truncating(&reason))
        })?;
        let of_service = service.admit()?;
        let of_node = self.permits.clone().try_acquire_owned();
        // Looked at after the permit is taken, so that a drain either is seen or waits for it.
        if self.draining.load(Ordering::SeqCst) {
            return Err(Status::ShuttingDown);
        }
        let of_node = of_node.map_err(|_| Status::Overloaded)?;
        Ok((service, codec, Admission::new(of_node, of_service)))
    }

    async fn run(
        &self,
        name: &ServiceName,
        service: &Service,
        call: InboundCall,
        admission: Admission,
    ) -> ReplyMessage {
        let (codec, deadline) = (call.codec, call.context.deadline);
        let span = span(name, &call.context);
        let depth = scope::depth();
        let runs = match service.runs() {
            // Each is polled on the stack of the one that calls it.
            Runs::Inline if depth >= MAX_INLINE_DEPTH => Runs::Spawned,
            runs => runs,
        };
        let inherited = Inherited {
            deadline,
            trace: call.context.trace,
            attempt: call.context.attempt,
            depth: match runs {
                Runs::Spawned => 0,
                Runs::Inline => depth + 1,
            },
        };
        let handler = service.handler();
        let handling = async move {
            let _admission = admission;
            handler.call(call).await
        };
        let running = scope::run(inherited, handling.instrument(span));
        let ended = match runs {
            Runs::Spawned => run::spawned(running, &self.handlers, service, deadline).await,
            Runs::Inline => run::inline(running, service, deadline).await,
        };
        let status = match ended {
            Ok(body) if body.len() <= self.config.max_body_bytes.get() => {
                return ReplyMessage {
                    status: Status::Ok,
                    codec,
                    body,
                };
            }
            Ok(_) => Status::ResultTooLarge {
                limit_bytes: self.config.max_body_bytes.get() as u64,
            },
            Err(status) => status,
        };
        match status {
            Status::Panicked => tracing::warn!(service = %name, "handler panicked"),
            ref other => tracing::debug!(service = %name, status = ?other, "call failed"),
        }
        ReplyMessage::failed(status)
    }
}

/// Handlers on the spot that call each other at their own node, one within the other.
const MAX_INLINE_DEPTH: u8 = 8;

fn span(service: &ServiceName, context: &CallContext) -> Span {
    let trace = context.trace;
    tracing::debug_span!(
        "handle",
        %service,
        caller = %context.caller.short(),
        trace_id = format_args!("{:032x}", trace.trace_id()),
        span_id = format_args!("{:016x}", trace.span_id()),
        parent_id = format_args!("{:016x}", context.cause.span_id()),
    )
}

/// The server as its endpoint sees it. Weak, for a server's registry may know the endpoint.
struct Inbound(Weak<Server>);

#[async_trait]
impl RequestHandler for Inbound {
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
        let deadline = Instant::now() + request.remaining.min(crate::MAX_CALL_TIMEOUT);
        let call = CallMessage::decode(&request.body).map_err(|_| Refusal::Malformed)?;
        let server = self.0.upgrade().ok_or(Refusal::ShuttingDown)?;
        let reply = server.serve(request.from, call, deadline).await;
        reply.encode().map_err(|_| Refusal::Malformed)
    }
}
