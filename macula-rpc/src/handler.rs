//! What answers a call: erased, typed and raw handlers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::{Metadata, NodeId, Realm};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{CallId, Codec, TraceContext};

mod error;
mod typed;

pub use error::{HandlerError, HandlerFailure};

use typed::{Raw, Typed};

/// Answers the calls to one service.
///
/// Runs in a task of its own, or where calls come in ([`Runs`](crate::Runs)), and is dropped at the
/// deadline or when the caller gives up. Calls it makes there end a little before its deadline, and
/// in a further attempt they are made at most once; those of tasks it spawns are bounded by their
/// options only.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one call; the result is encoded in the codec of the call.
    ///
    /// # Errors
    /// [`HandlerFailure`]: the application's own error, or a body that cannot be read or written.
    async fn call(self: Arc<Self>, call: InboundCall) -> Result<Bytes, HandlerFailure>;
}

/// A call as its handler sees it.
#[derive(Debug, Clone)]
pub struct InboundCall {
    /// Who calls, and how long they wait.
    pub context: CallContext,
    /// How `body` is encoded, and the result has to be.
    pub codec: Codec,
    /// The arguments.
    pub body: Bytes,
}

/// What is known of a call besides its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallContext {
    /// The node that calls, as its connection proved; this node itself for a local call.
    pub caller: NodeId,
    /// The namespace that both nodes live in.
    pub realm: Realm,
    /// When the caller stops waiting and the handler is aborted.
    pub deadline: Instant,
    /// The same for every attempt of one call of one caller: handlers can deduplicate by both.
    pub call_id: CallId,
    /// Counted from one.
    pub attempt: u8,
    /// What the caller says besides the arguments.
    pub headers: Metadata,
    /// The caller's span, which caused this one.
    pub cause: TraceContext,
    /// The span of this call: what the handler calls in turn belongs to it.
    pub trace: TraceContext,
}

impl CallContext {
    /// How long the caller still waits.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Makes a handler of a function from arguments to result.
///
/// It serves postcard and JSON callers alike.
pub fn typed<Req, Resp, F, Fut>(f: F) -> Arc<dyn Handler>
where
    Req: DeserializeOwned + Send + 'static,
    Resp: Serialize + Send + 'static,
    F: Fn(Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Resp, HandlerError>> + Send + 'static,
{
    typed_with_context(move |_, request| f(request))
}

/// Makes a handler of a function that also wants to know who calls.
pub fn typed_with_context<Req, Resp, F, Fut>(f: F) -> Arc<dyn Handler>
where
    Req: DeserializeOwned + Send + 'static,
    Resp: Serialize + Send + 'static,
    F: Fn(CallContext, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Resp, HandlerError>> + Send + 'static,
{
    Arc::new(Typed::new(f))
}

/// Makes a handler of a function from bytes to bytes, whatever codec the caller names.
pub fn raw<F, Fut>(f: F) -> Arc<dyn Handler>
where
    F: Fn(Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Bytes, HandlerError>> + Send + 'static,
{
    Arc::new(Raw(f))
}
