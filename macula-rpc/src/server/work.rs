//! One running handler: its polls, its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use macula_core::ServiceName;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;
use tracing::Span;

use super::admission::Admission;
use crate::message::{ErrorText, ReplyMessage, Status};
use crate::scope::{self, Inherited};
use crate::{CallContext, Codec, CodecError, HandlerFailure, InboundCall, Service};

/// A call that is admitted, with its handler: runs it to its end, or until its service wants it
/// gone. Dropping it drops the handler, then gives the places back.
pub(super) struct Work {
    // Before the admission: in this order they are dropped.
    handling: Handling,
    /// That the service wants it gone; of interest only to a handler that waits.
    aborting: Option<Pin<Box<OwnedNotified>>>,
    admission: Admission,
}

/// A handler at work.
struct Handling {
    answer: Answer,
    inherited: Inherited,
    span: Span,
    codec: Codec,
    max_body_bytes: usize,
}

/// What a handler comes to. It begins with the first poll: what it does before it makes its future
/// is done where it runs as well, and a panic of it is one of this call only.
struct Answer {
    /// What it begins with.
    call: Option<InboundCall>,
    future: Option<Answering>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Bytes, HandlerFailure>> + Send>>;

impl Work {
    /// A call that is handled within so many handlers on the spot, this one included.
    pub(super) fn new(
        admission: Admission,
        call: InboundCall,
        depth: u8,
        max_body_bytes: usize,
    ) -> Self {
        let span = span(admission.name(), &call.context);
        let inherited = Inherited {
            deadline: call.context.deadline,
            trace: call.context.trace,
            attempt: call.context.attempt,
            depth,
        };
        let codec = call.codec;
        let answer = Answer {
            call: Some(call),
            future: None,
        };
        let handling = Handling {
            answer,
            inherited,
            span,
            codec,
            max_body_bytes,
        };
        Self {
            handling,
            aborting: None,
            admission,
        }
    }

    /// Lets the handler go as far as it gets without waiting. Who goes on polls it again, because
    /// nobody is woken by this.
    pub(super) fn poll_once(&mut self) -> Option<ReplyMessage> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.handling.poll(self.admission.service(), &mut cx) {
            Poll::Ready(reply) => Some(self.admission.ended(reply)),
            Poll::Pending => None,
        }
    }

    /// Why it is over whatever its handler would say. A runtime that is behind may get to it only
    /// when nobody waits for it any more: then it shall not begin.
    fn is_over(&self) -> Option<Status> {
        if self.admission.service().is_aborting() {
            return Some(Status::Aborted);
        }
        let is_late = || Instant::now() >= self.handling.inherited.deadline;
        let begins_late = self.handling.answer.call.is_some() && is_late();
        begins_late.then_some(Status::DeadlineExceeded)
    }

    fn poll_handling(&mut self, cx: &mut Context<'_>) -> Poll<ReplyMessage> {
        if let Some(status) = self.is_over() {
            return Poll::Ready(ReplyMessage::failed(status));
        }
        if let Poll::Ready(reply) = self.handling.poll(self.admission.service(), cx) {
            return Poll::Ready(reply);
        }
        ready!(self.poll_aborting(cx));
        Poll::Ready(ReplyMessage::failed(Status::Aborted))
    }

    fn poll_aborting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let service = self.admission.service();
        let aborting = self
            .aborting
            .get_or_insert_with(|| Box::pin(service.aborting()));
        // Looked at after the wait has begun: who aborts after it wakes this.
        match service.is_aborting() {
            true => Poll::Ready(()),
            false => aborting.as_mut().poll(cx),
        }
    }
}

impl Future for Work {
    type Output = ReplyMessage;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ReplyMessage> {
        let reply = ready!(self.poll_handling(cx));
        Poll::Ready(self.admission.ended(reply))
    }
}

impl Handling {
    fn poll(&mut self, service: &Service, cx: &mut Context<'_>) -> Poll<ReplyMessage> {
        let answer = &mut self.answer;
        let poll = || scope::within(self.inherited, || answer.poll(service, cx));
        // That it is left as a panic found it does no harm: it is dropped and never polled again.
        let polled = self.span.in_scope(|| catch_unwind(AssertUnwindSafe(poll)));
        let ended = match polled {
            Ok(polled) => ready!(polled).map_err(status_of),
            Err(_) => Err(Status::Panicked),
        };
        Poll::Ready(self.reply(ended))
    }

    fn reply(&self, ended: Result<Bytes, Status>) -> ReplyMessage {
        match ended {
            Ok(body) if body.len() <= self.max_body_bytes => ReplyMessage {
                status: Status::Ok,
                codec: self.codec,
                body,
            },
            Ok(_) => ReplyMessage::failed(Status::ResultTooLarge {
                limit_bytes: self.max_body_bytes as u64,
            }),
            Err(status) => ReplyMessage::failed(status),
        }
    }
}

impl Answer {
    fn poll(
        &mut self,
        service: &Service,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, HandlerFailure>> {
        if let Some(call) = self.call.take() {
            self.future = Some(service.handler().call(call));
        }
        match &mut self.future {
            Some(future) => future.as_mut().poll(cx),
            // It panicked before there was one.
            None => Poll::Pending,
        }
    }
}

fn status_of(failure: HandlerFailure) -> Status {
    match failure {
        HandlerFailure::Error(error) => Status::Handler(error),
        HandlerFailure::BadArguments(error) => Status::BadArguments(text_of(&error)),
        HandlerFailure::BadResult(error) => Status::BadResult(text_of(&error)),
    }
}

fn text_of(error: &CodecError) -> ErrorText {
    ErrorText::truncating(&error.to_string())
}

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

#[cfg(test)]
mod tests;
