//! The server as its endpoint sees it.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use macula_core::ServiceName;
use macula_transport::{Begun, InboundRequest, Refusal, RequestHandler};

use super::Server;
use super::begin::{Incoming, Progress};
use super::work::Work;
use crate::message::{CallHeader, ReplyMessage, Status};

/// Weak, for a server's registry may know the endpoint.
pub(super) struct Inbound(Weak<Server>);

impl Inbound {
    pub(super) fn of(server: &Arc<Server>) -> Self {
        Self(Arc::downgrade(server))
    }

    /// Takes a request as far as it gets without waiting. Its deadline is the endpoint's to keep,
    /// by dropping what is handed back.
    fn take(&self, mut request: InboundRequest) -> Result<Begun, Refusal> {
        let (header, header_len) =
            CallHeader::decode(&request.body).map_err(|_| Refusal::Malformed)?;
        let server = self.0.upgrade().ok_or(Refusal::ShuttingDown)?;
        let name = header.service;
        let admitted = server.admit(Incoming {
            caller: request.from,
            header,
            arrived: request.arrived,
            deadline: request.arrived + request.remaining,
        });
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(Status::NotServed) if is_nonsense(name) => return Err(Refusal::Malformed),
            Err(status) => return Ok(Begun::Answered(encode(ReplyMessage::failed(status)))),
        };
        // What is left is the arguments: they take no memory of their own.
        request.body.advance(header_len);
        Ok(match server.begin(admitted, request.body) {
            Progress::Ended(reply) => Begun::Answered(encode(reply)),
            Progress::Waits(work) => Begun::On(server.node.clone(), Box::pin(Rest(work))),
            Progress::ToSpawn(work) => Begun::On(server.handlers.clone(), Box::pin(Rest(work))),
        })
    }
}

#[async_trait]
impl RequestHandler for Inbound {
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
        match self.take(request)? {
            Begun::Answered(answer) => answer,
            Begun::Here(handling) | Begun::On(_, handling) => handling.await,
        }
    }

    fn begin(self: Arc<Self>, request: InboundRequest) -> Begun {
        self.take(request)
            .unwrap_or_else(|refusal| Begun::Answered(Err(refusal)))
    }
}

/// Only the names that nothing is served under are worth a look.
fn is_nonsense(name: &str) -> bool {
    name.parse::<ServiceName>().is_err()
}

/// The rest of a call, as its endpoint sees it.
struct Rest(Work);

impl Future for Rest {
    type Output = Result<Bytes, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(match reply.status {
            // It has not begun.
            Status::DeadlineExceeded => Err(Refusal::DeadlineExceeded),
            _ => encode(reply),
        })
    }
}

fn encode(reply: ReplyMessage) -> Result<Bytes, Refusal> {
    reply.encode().map_err(|_| Refusal::Malformed)
}
