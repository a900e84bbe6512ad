//! One request of a peer, from its frame to its reply.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::calls::MAX_LANE_BODY_BYTES;
use super::dispatch::{BodyShare, Dispatch, Hold, Protocol};
use super::frame::{CallId, Header, Kind};
use super::horizon::after;
use super::lane::{self, Lane, Reply};
use super::link::Link;
use super::node::Node;
use super::request::{InboundRequest, ProtocolId};
use super::running::Work;
use super::stats::Counters;
use crate::Refusal;

/// What answers the requests of one connection's peer.
#[derive(Clone)]
pub(super) struct Inbound {
    pub(super) link: Arc<Link>,
    pub(super) counters: Arc<Counters>,
    pub(super) max_body_bytes: usize,
    dispatch: Arc<Dispatch>,
    node: Weak<Node>,
}

/// A request frame as it came in.
pub(super) struct Arrived {
    pub(super) header: Header,
    /// When its header was there: its time runs from then on.
    pub(super) at: Instant,
    pub(super) body: Bytes,
    /// The memory that the body takes.
    pub(super) share: BodyShare,
}

type Outcome = Result<Bytes, Refusal>;

type Handling = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Inbound {
    pub(super) fn new(node: &Arc<Node>, link: &Arc<Link>) -> Self {
        Self {
            link: Arc::clone(link),
            counters: Arc::clone(&node.counters),
            max_body_bytes: node.config.max_message_bytes.get(),
            dispatch: Arc::clone(&node.dispatch),
            node: Arc::downgrade(node),
        }
    }

    /// Memory for the body of the next request: none yet.
    pub(super) fn body(&self) -> BodyShare {
        self.dispatch.body_of(&self.link.limits)
    }

    /// Takes a request in; what can be answered on the spot is.
    pub(super) fn take(&self, lane: &Arc<Lane>, arrived: Arrived) -> Option<Reply> {
        let Arrived {
            header,
            at,
            body,
            share,
        } = arrived;
        if ProtocolId(header.code) == ProtocolId::CONTROL {
            // Not idle for now, which is what it may have been sent for.
            drop(self.link.lease());
            return Some(Reply::new(Kind::Reply, header.call, Bytes::new()));
        }
        match self.admit(&header, body.len(), share) {
            Ok((protocol, hold)) => {
                let call = Handled {
                    inbound: self.clone(),
                    lane: Arc::clone(lane),
                    call: header.call,
                    came_alone: header.alone,
                    hold: Some(hold),
                };
                self.counters.requests_handled.add();
                call.begin(protocol, after(at, header.remaining), body)
            }
            Err(refusal) => Some(self.refuse(&header, refusal)),
        }
    }

    fn admit(
        &self,
        header: &Header,
        body_len: usize,
        mut share: BodyShare,
    ) -> Result<(Protocol, Hold), Refusal> {
        if header.remaining.is_zero() {
            return Err(Refusal::DeadlineExceeded);
        }
        // Two calls under one id could not be told apart.
        if !self.link.running.is_free(header.call) {
            return Err(Refusal::Malformed);
        }
        if !share.grow_to(body_len) {
            return Err(Refusal::Overloaded);
        }
        let protocol = self.dispatch.protocol(ProtocolId(header.code))?;
        let hold = self.dispatch.admit(&self.link, &protocol, share)?;
        Ok((protocol, hold))
    }

    /// The answer to a request that is not carried out.
    pub(super) fn refuse(&self, header: &Header, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Overloaded => self.counters.requests_overloaded.add(),
            Refusal::Malformed => self.counters.requests_malformed.add(),
            _ => {}
        }
        Reply::refusal(header.call, refusal)
    }

    /// The peer no longer wants a reply.
    pub(super) fn cancel(&self, call: CallId) {
        match self.link.running.take(call) {
            Some(work) => self.abort([work]),
            None => self.counters.late_frames.add(),
        }
    }

    /// Ends what nobody waits for any more.
    pub(super) fn abort(&self, works: impl IntoIterator<Item = Work>) {
        for work in works {
            self.counters.requests_cancelled.add();
            work.abort();
        }
    }
}

/// A request that was admitted. Dropping it without an outcome says so to the peer.
struct Handled {
    inbound: Inbound,
    lane: Arc<Lane>,
    call: CallId,
    /// It came on a stream of its own, which takes a reply of any length.
    came_alone: bool,
    hold: Option<Hold>,
}

impl Handled {
    /// Lets the handler begin: on the spot as far as it gets without waiting, or in a task.
    fn begin(mut self, protocol: Protocol, deadline: Instant, body: Bytes) -> Option<Reply> {
        let link = &self.inbound.link;
        let request = InboundRequest {
            from: link.node_id(),
            role: link.hello.role,
            remaining: deadline.saturating_duration_since(Instant::now()),
            body,
        };
        let Protocol {
            handler, runtime, ..
        } = protocol;
        let mut handling: Handling = Box::pin(async move { handler.handle(request).await });
        let runtime = match runtime {
            Some(runtime) => runtime,
            None => match poll_once(&mut handling) {
                Ok(Poll::Pending) => Handle::current(),
                Ok(Poll::Ready(outcome)) => return self.reply(outcome),
                Err(Panicked) => {
                    let hold = self.hold.take();
                    return Some(Reply::aborted(self.call, hold));
                }
            },
        };
        let running = self.inbound.clone();
        let call = self.call;
        running.link.running.begin(call, &self.lane);
        let task = runtime.spawn(self.run(handling, deadline));
        running.link.running.started(call, task.abort_handle());
        None
    }

    async fn run(mut self, handling: Handling, deadline: Instant) {
        let reply = match timeout_at(deadline, handling).await {
            Ok(outcome) => self.reply(outcome),
            Err(_) => {
                self.inbound.counters.requests_cancelled.add();
                let mut reply = Reply::new(Kind::OutOfTime, self.call, Bytes::new());
                reply.hold = self.hold.take();
                Some(reply)
            }
        };
        if let Some(reply) = reply {
            self.answer(reply);
        }
    }

    /// Makes the answer out of a handler's outcome; `None` when it goes its own way.
    fn reply(&mut self, outcome: Outcome) -> Option<Reply> {
        let mut reply = match outcome {
            Ok(body) if body.len() > self.inbound.max_body_bytes => {
                Reply::new(Kind::ReplyTooLarge, self.call, Bytes::new())
            }
            Ok(body) => Reply::new(Kind::Reply, self.call, body),
            Err(refusal) => {
                let header = Header::new(Kind::Refusal, self.call, 0);
                self.inbound.refuse(&header, refusal)
            }
        };
        reply.hold = self.hold.take();
        if reply.body.len() <= MAX_LANE_BODY_BYTES || self.came_alone {
            return Some(reply);
        }
        self.send_alone(reply);
        None
    }

    /// Sends a long reply on a stream of its own. Until it is out it can be cancelled.
    fn send_alone(&self, reply: Reply) {
        let (link, call) = (&self.inbound.link, self.call);
        let Some(node) = self.inbound.node.upgrade() else {
            return;
        };
        link.running.begin(call, &self.lane);
        let sending = lane::reply_alone(Arc::clone(link), Arc::clone(&self.lane), reply);
        let task = node.spawn(sending);
        link.running.started(call, task);
    }

    fn answer(&self, reply: Reply) {
        let running = &self.inbound.link.running;
        running.end(self.call, || self.lane.reply(reply));
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.answer(Reply::aborted(self.call, Some(hold)));
        }
    }
}

impl Reply {
    fn new(kind: Kind, call: CallId, body: Bytes) -> Self {
        // At most the limit of a message, which fits.
        let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        Self {
            header: Header::new(kind, call, body_len),
            body,
            hold: None,
        }
    }

    fn refusal(call: CallId, refusal: Refusal) -> Self {
        let mut reply = Self::new(Kind::Refusal, call, Bytes::new());
        reply.header.code = refusal.to_wire();
        reply
    }

    fn aborted(call: CallId, hold: Option<Hold>) -> Self {
        let mut reply = Self::new(Kind::Aborted, call, Bytes::new());
        reply.hold = hold;
        reply
    }
}

struct Panicked;

/// Lets a handler go as far as it gets without waiting. Its panic shall not end the lane.
fn poll_once(handling: &mut Handling) -> Result<Poll<Outcome>, Panicked> {
    let mut cx = Context::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(&mut cx))).map_err(|_| Panicked)
}
