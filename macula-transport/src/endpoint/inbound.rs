//! One request of a peer, from its frame to its reply.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::dispatch::{BodyShare, Dispatch, Hold};
use super::frame::{CallId, Header, Kind};
use super::lane::{self, Lane, Reply};
use super::link::Link;
use super::node::Node;
use super::request::{Begun, Handling, InboundRequest, ProtocolId, RequestHandler};
use super::running::WorkId;
use super::starting::Starting;
use super::stats::Counters;
use crate::{NodeRuntime, Refusal};

/// What answers the requests of one connection's peer.
pub(super) struct Inbound {
    pub(super) link: Arc<Link>,
    pub(super) counters: Arc<Counters>,
    pub(super) max_body_bytes: usize,
    dispatch: Arc<Dispatch>,
    runtime: NodeRuntime,
}

/// A request frame as it came in.
pub(super) struct Arrived {
    pub(super) header: Header,
    /// When its header was there: its time runs from then on.
    pub(super) at: Instant,
    pub(super) now: Instant,
    pub(super) body: Bytes,
    /// The memory that the body has taken, if it came in pieces.
    pub(super) share: Option<Box<BodyShare>>,
}

/// A request that may be handled.
struct Admitted {
    header: Header,
    deadline: Instant,
    hold: Hold,
}

/// How far the answer to a request has come on the spot.
enum Begins {
    Answered(Reply),
    /// It goes on in a task there.
    On(Handle, Handling),
}

type Outcome = Result<Bytes, Refusal>;

impl Inbound {
    pub(super) fn new(node: &Node, link: &Arc<Link>) -> Arc<Self> {
        Arc::new(Self {
            link: Arc::clone(link),
            counters: Arc::clone(&node.counters),
            max_body_bytes: node.config.max_message_bytes.get(),
            dispatch: Arc::clone(&node.dispatch),
            runtime: node.runtime.clone(),
        })
    }

    /// Something was sent or received.
    pub(super) fn note(&self) {
        self.runtime.note();
    }

    /// Whether there is memory for so much of a body that comes in pieces. A reply that nobody waits
    /// for gets none.
    pub(super) fn has_room(
        &self,
        header: &Header,
        len_bytes: usize,
        share: &mut Option<Box<BodyShare>>,
    ) -> bool {
        let limits = &self.link.limits;
        let share = match header.kind {
            Kind::Request => {
                let whole = usize::try_from(header.body_len).unwrap_or(usize::MAX);
                let new = || self.dispatch.request_body(limits, whole).on(&self.link);
                share.get_or_insert_with(new)
            }
            _ if !self.link.calls.awaits(header.call) => return false,
            _ => share.get_or_insert_with(|| limits.reply_body()),
        };
        share.grow_to(len_bytes)
    }

    /// Takes a request in; what can be answered on the spot is. A handler that goes on in a task is
    /// `starting` from then on.
    pub(super) fn take(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        arrived: Arrived,
        starting: &mut Starting,
    ) -> Option<Reply> {
        let header = arrived.header;
        if ProtocolId(header.code) == ProtocolId::CONTROL {
            // Not idle for now, which is what it may have been sent for.
            drop(self.link.lease());
            return Some(Reply::new(Kind::Reply, header.call, Bytes::new()));
        }
        let hold = match self.admit(&header, arrived.body.len(), arrived.share) {
            Ok(hold) => hold,
            Err(refusal) => return Some(self.refuse(&header, refusal)),
        };
        self.counters.requests_handled.add();
        let deadline = arrived.at + header.remaining.min(MAX_REQUEST_TIMEOUT);
        let request = InboundRequest {
            from: self.link.node_id(),
            role: self.link.hello.role,
            arrived: arrived.now,
            remaining: deadline.saturating_duration_since(arrived.now),
            body: arrived.body,
        };
        let handler = Arc::clone(&hold.protocol().handler);
        let task = match &hold.protocol().runtime {
            Some(runtime) => {
                let handling = async move { handler.handle(request).await };
                (runtime.clone(), Box::pin(handling) as Handling)
            }
            None => match self.begin_inline(&header, handler, request) {
                Begins::Answered(reply) => return Some(reply.holding(hold)),
                Begins::On(runtime, handling) => (runtime, handling),
            },
        };
        let admitted = Admitted {
            header,
            deadline,
            hold,
        };
        self.begin(lane, admitted, task, starting);
        None
    }

    fn admit(
        &self,
        header: &Header,
        body_len: usize,
        share: Option<Box<BodyShare>>,
    ) -> Result<Hold, Refusal> {
        if header.remaining.is_zero() {
            return Err(Refusal::DeadlineExceeded);
        }
        // Two calls under one id could not be told apart.
        if !self.link.running.is_free(header.call) {
            return Err(Refusal::Malformed);
        }
        let body = (body_len, share);
        let protocol = ProtocolId(header.code);
        self.dispatch
            .admit(&self.link, protocol, body, &self.counters)
    }

    /// Lets a handler go as far as it gets without waiting.
    fn begin_inline(
        &self,
        header: &Header,
        handler: Arc<dyn RequestHandler>,
        request: InboundRequest,
    ) -> Begins {
        let outcome = match begin(handler, request) {
            Ok(Begun::Answered(outcome)) => outcome,
            Ok(Begun::Here(handling)) => return Begins::On(Handle::current(), handling),
            Ok(Begun::On(runtime, handling)) => return Begins::On(runtime, handling),
            Err(Panicked) => return Begins::Answered(Reply::aborted(header.call)),
        };
        let reply = self.reply(header, outcome);
        if self.link.travels_alone(&reply.body) {
            let sending = Box::pin(async move { Ok(reply.body) });
            return Begins::On(Handle::current(), sending);
        }
        Begins::Answered(reply)
    }

    /// Prepares a handler to run in a task, unless the connection has ended.
    fn begin(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        admitted: Admitted,
        (runtime, handling): (Handle, Handling),
        starting: &mut Starting,
    ) {
        let Some(work) = self.link.running.begin(admitted.header.call, lane) else {
            return;
        };
        let handled = Handled {
            inbound: Arc::clone(self),
            lane: Arc::clone(lane),
            header: admitted.header,
            work,
            hold: Some(admitted.hold),
        };
        starting.push(runtime, handled, handling, admitted.deadline);
    }

    /// The answer that a handler's outcome makes.
    fn reply(&self, header: &Header, outcome: Outcome) -> Reply {
        match outcome {
            Ok(body) if body.len() > self.max_body_bytes => {
                self.counters.replies_too_large.add();
                Reply::new(Kind::ReplyTooLarge, header.call, Bytes::new())
            }
            Ok(body) => Reply::new(Kind::Reply, header.call, body),
            Err(refusal) => self.refuse(header, refusal),
        }
    }

    /// The answer to a request that is not carried out.
    pub(super) fn refuse(&self, header: &Header, refusal: Refusal) -> Reply {
        self.counters.refused_request(refusal);
        Reply::refusal(header.call, refusal)
    }

    /// The peer no longer wants a reply.
    pub(super) fn cancel(&self, call: CallId) {
        if !self.link.running.abort(call) {
            self.counters.late_frames.add();
        }
    }
}

/// A request whose handler runs in a task. Dropping it without an outcome says so to the peer.
pub(super) struct Handled {
    inbound: Arc<Inbound>,
    lane: Arc<Lane>,
    header: Header,
    work: WorkId,
    hold: Option<Hold>,
}

impl Handled {
    /// Lets the handler run, unless it was cancelled while it waited for that.
    pub(super) fn spawn(self, runtime: &Handle, handling: Handling, deadline: Instant) {
        let (inbound, work) = (Arc::clone(&self.inbound), self.work);
        if !inbound.link.running.is_wanted(work) {
            return;
        }
        let task = runtime.spawn(self.run(handling, deadline));
        inbound.link.running.started(work, task.abort_handle());
    }

    async fn run(mut self, handling: Handling, deadline: Instant) {
        let reply = match timeout_at(deadline, self.reply(handling)).await {
            Ok(reply) => reply,
            Err(_) => {
                self.inbound.counters.requests_cancelled.add();
                Reply::new(Kind::OutOfTime, self.header.call, Bytes::new())
            }
        };
        let link = &self.inbound.link;
        if link.travels_alone(&reply.body) && !self.header.alone {
            // Until it is out it can be cancelled like its handler.
            if let Some(unread) = lane::reply_alone(&self.inbound, reply).await {
                self.hold = None;
                self.end(Lane::wake);
                // Whoever notes only now how to end the handler ends this task.
                tokio::spawn(unread.read());
            }
        } else if let Some(hold) = self.hold.take() {
            self.end(|lane| lane.reply(reply.holding(hold)));
        }
    }

    /// The reply, with its turn if it is long.
    async fn reply(&self, handling: Handling) -> Reply {
        let mut reply = self.inbound.reply(&self.header, handling.await);
        let link = &self.inbound.link;
        if link.travels_alone(&reply.body) {
            reply.turn = link.turns.reply(reply.body.len()).await;
        }
        reply
    }

    fn end(&self, answer: impl FnOnce(&Lane)) -> bool {
        let running = &self.inbound.link.running;
        running.end(self.work, || answer(&self.lane))
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let mut aborted = Some(Reply::aborted(self.header.call).holding(hold));
        let is_wanted = self.end(|lane| aborted.take().into_iter().for_each(|it| lane.reply(it)));
        if !is_wanted {
            self.inbound.counters.requests_cancelled.add();
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
            turn: None,
        }
    }

    fn refusal(call: CallId, refusal: Refusal) -> Self {
        let mut reply = Self::new(Kind::Refusal, call, Bytes::new());
        reply.header.code = refusal.to_wire();
        reply
    }

    fn aborted(call: CallId) -> Self {
        Self::new(Kind::Aborted, call, Bytes::new())
    }

    /// The same, with what its request holds until it is written.
    fn holding(mut self, hold: Hold) -> Self {
        self.hold = Some(hold);
        self
    }
}

/// No request is handled for longer than this, however long its peer says that it waits: what it
/// holds of this node's limits is given back then.
pub const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

struct Panicked;

/// Lets a handler go as far as it gets without waiting. Its panic shall not end the lane.
fn begin(handler: Arc<dyn RequestHandler>, request: InboundRequest) -> Result<Begun, Panicked> {
    let begin = || match handler.begin(request) {
        Begun::Here(mut handling) => {
            let mut cx = Context::from_waker(Waker::noop());
            match handling.as_mut().poll(&mut cx) {
                Poll::Ready(outcome) => Begun::Answered(outcome),
                Poll::Pending => Begun::Here(handling),
            }
        }
        begun => begun,
    };
    catch_unwind(AssertUnwindSafe(begin)).map_err(|_| Panicked)
}
