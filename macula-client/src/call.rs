//! A call before it is made.

use std::future::IntoFuture;
use std::num::NonZeroU8;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Delivery, Metadata, NameError, NodeId, ServiceName};
use macula_rpc::{
    Attempt, Call, CallError, CallOptions, Caller, Codec, CodecError, Part, Reply, TraceContext,
};

/// A call to be made: set how, then await it for the result.
///
/// Dropping the future of a running call cancels it: no further attempt is made and the handler is
/// stopped.
#[must_use = "nothing is called until this is awaited"]
pub struct CallBuilder<Resp> {
    caller: Caller,
    codec: Codec,
    name: Result<ServiceName, NameError>,
    body: Result<Bytes, CodecError>,
    options: CallOptions,
    decode: Decode<Resp>,
}

/// Reads a result; a function rather than a bound, since raw bytes are not decoded at all.
pub(crate) type Decode<Resp> = fn(Codec, Bytes) -> Result<Resp, CodecError>;

impl<Resp> CallBuilder<Resp> {
    pub(crate) fn new(
        caller: Caller,
        codec: Codec,
        name: Result<ServiceName, NameError>,
        body: Result<Bytes, CodecError>,
        decode: Decode<Resp>,
    ) -> Self {
        let options = CallOptions::default();
        Self {
            caller,
            codec,
            name,
            body,
            options,
            decode,
        }
    }

    /// One deadline over everything: lookup, dial, attempts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// Never lets the function run twice: a call that is lost after it was sent fails with
    /// [`Executed::Unknown`](crate::Executed::Unknown) instead of being tried elsewhere.
    pub fn at_most_once(mut self) -> Self {
        self.options.delivery = Some(Delivery::AtMostOnce);
        self
    }

    /// The most providers to try.
    pub fn max_attempts(mut self, attempts: NonZeroU8) -> Self {
        self.options.max_attempts = Some(attempts);
        self
    }

    /// Calls this provider and no other. One that is not connected is found by what it provides, or
    /// else by its id.
    pub fn provider(mut self, node_id: NodeId) -> Self {
        self.options.provider = Some(node_id);
        self
    }

    /// Calls none but these nodes.
    pub fn only(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        self.options.wanted.nodes = Some(Arc::new(nodes.into_iter().collect()));
        self
    }

    /// Calls none but providers that say all of this about themselves.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.options.wanted.metadata = metadata;
        self
    }

    /// What the handler is told besides the arguments.
    pub fn headers(mut self, headers: Metadata) -> Self {
        self.options.headers = headers;
        self
    }

    /// The trace and the span that cause the call; within a handler it belongs to the handler's
    /// unless this is said.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.options.trace = Some(trace);
        self
    }

    /// Looks the providers up anew instead of trusting the cache.
    pub fn force_refresh(mut self) -> Self {
        self.options.force_refresh = true;
        self
    }

    /// How old what the cache knows of the providers may be to count as fresh, in place of
    /// [`RegistryConfig::cache_fresh`](crate::registry::RegistryConfig::cache_fresh), and for how
    /// long what this call looks up does. Zero neither reads nor fills the cache.
    pub fn cache_ttl(mut self, ttl: Duration) -> Self {
        self.options.cache_ttl = Some(ttl);
        self
    }

    /// Makes the call and tells how it went: who answered, found where, after which attempts.
    ///
    /// # Errors
    /// [`CallError`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn detailed(self) -> Result<Reply, CallError> {
        let service = self.name.map_err(CallError::Name)?;
        let body = self
            .body
            .map_err(|error| unreadable(Part::Arguments, &error, Vec::new()))?;
        let call = Call {
            service,
            codec: self.codec,
            body,
            options: self.options,
        };
        self.caller.call(call).await
    }
}

impl<Resp: Send + 'static> IntoFuture for CallBuilder<Resp> {
    type Output = Result<Resp, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let decode = self.decode;
            let reply = self.detailed().await?;
            let attempts = reply.attempts;
            decode(reply.codec, reply.body)
                .map_err(|error| unreadable(Part::Result, &error, attempts))
        })
    }
}

fn unreadable(part: Part, error: &CodecError, attempts: Vec<Attempt>) -> CallError {
    CallError::Codec {
        part,
        reason: error.to_string(),
        attempts,
    }
}
