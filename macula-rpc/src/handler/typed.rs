//! Handlers made of functions.

use std::future::{Future, ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CallContext, Handler, HandlerError, HandlerFailure, InboundCall};

/// As the trait hands it out.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Bytes, HandlerFailure>> + Send + 'a>>;

/// A function of typed arguments.
pub(super) struct Typed<Req, Resp, F> {
    f: F,
    types: PhantomData<fn(Req) -> Resp>,
}

impl<Req, Resp, F> Typed<Req, Resp, F> {
    pub(super) fn new(f: F) -> Self {
        Self {
            f,
            types: PhantomData,
        }
    }
}

// Without `async_trait`, whose futures have room for the whole call, and twice: what is left of it
// once the function has its arguments is the function's own future.
impl<Req, Resp, F, Fut> Handler for Typed<Req, Resp, F>
where
    Req: DeserializeOwned + Send + 'static,
    Resp: Serialize + Send + 'static,
    F: Fn(CallContext, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Resp, HandlerError>> + Send + 'static,
{
    fn call<'a>(self: Arc<Self>, call: InboundCall) -> Answering<'a> {
        let codec = call.codec;
        let arguments = match codec.decode(&call.body) {
            Ok(arguments) => arguments,
            Err(error) => return Box::pin(ready(Err(HandlerFailure::BadArguments(error)))),
        };
        let result = (self.f)(call.context, arguments);
        Box::pin(async move {
            let result = result.await?;
            codec.encode(&result).map_err(HandlerFailure::BadResult)
        })
    }
}

/// A function of bytes.
pub(super) struct Raw<F>(pub(super) F);

impl<F, Fut> Handler for Raw<F>
where
    F: Fn(Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Bytes, HandlerError>> + Send + 'static,
{
    fn call<'a>(self: Arc<Self>, call: InboundCall) -> Answering<'a> {
        let result = (self.0)(call.body);
        Box::pin(async move { Ok(result.await?) })
    }
}
