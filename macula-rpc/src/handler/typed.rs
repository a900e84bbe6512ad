//! Handlers made of functions.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CallContext, Handler, HandlerError, HandlerFailure, InboundCall};

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

#[async_trait]
impl<Req, Resp, F, Fut> Handler for Typed<Req, Resp, F>
where
    Req: DeserializeOwned + Send + 'static,
    Resp: Serialize + Send + 'static,
    F: Fn(CallContext, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Resp, HandlerError>> + Send + 'static,
{
    async fn call(self: Arc<Self>, call: InboundCall) -> Result<Bytes, HandlerFailure> {
        let arguments = call
            .codec
            .decode(&call.body)
            .map_err(HandlerFailure::BadArguments)?;
        let result = (self.f)(call.context, arguments).await?;
        call.codec
            .encode(&result)
            .map_err(HandlerFailure::BadResult)
    }
}

/// A function of bytes.
pub(super) struct Raw<F>(pub(super) F);

#[async_trait]
impl<F, Fut> Handler for Raw<F>
where
    F: Fn(Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Bytes, HandlerError>> + Send + 'static,
{
    async fn call(self: Arc<Self>, call: InboundCall) -> Result<Bytes, HandlerFailure> {
        Ok((self.0)(call.body).await?)
    }
}
