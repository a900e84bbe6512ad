//! What this node wants of its peers: connections, and answers to requests.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, DialTarget};
use tokio::time::{Instant, sleep, timeout_at};

use super::call::Call;
use super::calls::{Answer, Answered, NotBegun, Outgoing, Stopped};
use super::dial::dial;
use super::horizon::after;
use super::link::{Lease, Link};
use super::node::Node;
use super::peer::{Peer, Role};
use super::request::Request;
use super::trace;
use crate::{
    CloseCode, ConnectionError, DialError, Executed, Refusal, RequestError, RequestFailure,
    StreamError,
};

/// Connects to a node unless it is connected.
pub(super) async fn connect(node: &Arc<Node>, target: &DialTarget) -> Result<Peer, DialError> {
    let known = match target {
        DialTarget::Pinned { node_id, .. } => node.pool.lease(node_id),
        DialTarget::FirstUse { .. } => None,
    };
    let lease = match known {
        Some(lease) => lease,
        None => {
            let reached = dial(node, target).await?;
            node.pool
                .lease(&reached.peer)
                .ok_or(DialError::Unreachable)?
        }
    };
    if node.config.role == Role::Client {
        keep_alive(node, lease.link());
    }
    let peer = lease.link().node_id();
    node.pool.peer(&peer).ok_or(DialError::Unreachable)
}

/// Sends a request and waits for the reply.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` has room for its arguments twice"
)]
pub(super) fn request(
    node: &Arc<Node>,
    to: &Contact,
    request: Request,
) -> impl Future<Output = Result<Bytes, RequestError>> + Send {
    async move {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let timeout = request.timeout;
        let outgoing = outgoing(node, request)?;
        let lease = node.pool.lease(&to.node_id);
        let answered = match begin_at_once(node, lease.as_ref(), outgoing, waker) {
            Ok(call) => {
                let link = call.link();
                attempted(node, link, call.await).answer()
            }
            Err(again) => Err(again),
        };
        drop(lease);
        let answer = match answered {
            Ok(answer) => answer,
            // Boxed, for most requests do not need it and would carry room for it.
            Err(again) => Box::pin(attempts(node, to, again)).await?,
        };
        if answer == Answer::Overdue(Executed::No) {
            node.counters.requests_unsent.add();
        }
        answer.into_result(timeout, node.config.max_message_bytes.get())
    }
}

/// What is sent, if it may be.
fn outgoing(node: &Node, request: Request) -> Result<Outgoing, RequestError> {
    if node.is_closing() {
        return Err(RequestError::not_executed(RequestFailure::ShuttingDown));
    }
    let limit_bytes = node.config.max_message_bytes.get();
    if request.body.len() > limit_bytes {
        let failure = RequestFailure::TooLarge { limit_bytes };
        return Err(RequestError::not_executed(failure));
    }
    Ok(Outgoing {
        protocol: request.protocol,
        deadline: after(Instant::now(), request.timeout),
        body: request.body,
    })
}

/// Sends a request on the connection there is, unless that takes a wait; hands it back when it has
/// not begun.
fn begin_at_once<'a>(
    node: &Arc<Node>,
    lease: Option<&'a Lease>,
    request: Outgoing,
    waker: Waker,
) -> Result<Call<'a>, Outgoing> {
    let Some(lease) = lease else {
        return Err(request);
    };
    let link = lease.link();
    let start = |lane, turn| node.start_lane(link, lane, turn);
    Call::begin_at_once(link, request, waker, start)
}

async fn attempts(
    node: &Arc<Node>,
    to: &Contact,
    mut request: Outgoing,
) -> Result<Answer, RequestError> {
    for _ in 2..MAX_ATTEMPTS {
        match attempt(node, to, request).await? {
            Attempted::Answered(answer) => return Ok(answer),
            // It found a connection or a lane that had ended, or was about to.
            Attempted::NotBegun(again, _) => request = again,
        }
    }
    match attempt(node, to, request).await? {
        Attempted::Answered(answer) => Ok(answer),
        Attempted::NotBegun(_, failure) => Err(RequestError::not_executed(failure)),
    }
}

/// What came of sending a request on the connection there was.
enum Attempted {
    Answered(Answer),
    NotBegun(Outgoing, RequestFailure),
}

impl Attempted {
    /// The answer, or what has not begun.
    fn answer(self) -> Result<Answer, Outgoing> {
        match self {
            Self::Answered(answer) => Ok(answer),
            Self::NotBegun(request, _) => Err(request),
        }
    }

    /// Its time was over before it was sent.
    fn too_late() -> Self {
        Self::Answered(Answer::Overdue(Executed::No))
    }
}

async fn attempt(
    node: &Arc<Node>,
    to: &Contact,
    request: Outgoing,
) -> Result<Attempted, RequestError> {
    let lease = match lease(node, to, request.deadline).await {
        Ok(lease) => lease,
        Err(NoLease::TooLate) => return Ok(Attempted::too_late()),
        Err(NoLease::Lost) => {
            let lost = RequestFailure::Interrupted(ConnectionError::Lost.into());
            return Ok(Attempted::NotBegun(request, lost));
        }
        Err(NoLease::Failed(failure)) => return Err(RequestError::not_executed(failure)),
    };
    let link = lease.link();
    let start = |lane, turn| node.start_lane(link, lane, turn);
    let answered = match Call::begin(link, request, &node.counters, start).await {
        Ok(call) => call.await,
        Err(NotBegun { stopped: None, .. }) => return Ok(Attempted::too_late()),
        Err(NotBegun {
            request,
            stopped: Some(stopped),
        }) => {
            let failure = stopped_on(node, link, stopped);
            return Ok(Attempted::NotBegun(request, failure));
        }
    };
    Ok(attempted(node, link, answered))
}

/// What an answer comes to.
fn attempted(node: &Node, link: &Link, answered: Answered) -> Attempted {
    let Answered { answer, request } = answered;
    let Some(request) = request else {
        return Attempted::Answered(answer);
    };
    let failure = match answer {
        Answer::Unsent(StreamError::Connection(error)) => {
            stopped_on(node, link, Stopped::Ended(error))
        }
        // Its stream broke down before it was sent; another may do.
        Answer::Unsent(error) => RequestFailure::Interrupted(error),
        Answer::Refused(Refusal::Leaving) => {
            stopped_on(node, link, Stopped::Leaving(CloseCode::Idle))
        }
        answer => return Attempted::Answered(answer),
    };
    Attempted::NotBegun(request, failure)
}

/// No request begins on a connection any more.
fn stopped_on(node: &Node, link: &Link, stopped: Stopped) -> RequestFailure {
    match stopped {
        Stopped::Ended(error) => {
            node.ended(link, error);
            RequestFailure::Interrupted(error.into())
        }
        Stopped::Leaving(CloseCode::ShuttingDown) => RequestFailure::Refused(Refusal::ShuttingDown),
        Stopped::Leaving(_) => {
            link.calls.stop(CloseCode::Idle);
            RequestFailure::Refused(Refusal::Leaving)
        }
    }
}

/// Why there is no connection to send on.
enum NoLease {
    /// The time of the request was over first.
    TooLate,
    /// It ended as soon as it had come about.
    Lost,
    Failed(RequestFailure),
}

/// Takes hold of a connection, a new one if there is none.
async fn lease(node: &Arc<Node>, to: &Contact, deadline: Instant) -> Result<Lease, NoLease> {
    if let Some(lease) = node.pool.lease(&to.node_id) {
        return Ok(lease);
    }
    if node.pool.is_departing(&to.node_id) {
        let refused = RequestFailure::Refused(Refusal::ShuttingDown);
        return Err(NoLease::Failed(refused));
    }
    let target = to.into();
    // Boxed, for most requests do not need it and would carry room for it.
    let dialling = Box::pin(timeout_at(deadline, dial(node, &target)));
    match dialling.await {
        Ok(Ok(reached)) => node.pool.lease(&reached.peer).ok_or(NoLease::Lost),
        Ok(Err(error)) => Err(NoLease::Failed(RequestFailure::Dial(error))),
        Err(_) => Err(NoLease::TooLate),
    }
}

/// Asks the peer's endpoint for a sign of life; whether there was one in time, `None` if the
/// connection has ended.
pub(super) async fn ping(node: &Weak<Node>, link: &Arc<Link>, patience: Duration) -> Option<bool> {
    let counters = node.upgrade().map(|node| Arc::clone(&node.counters))?;
    let start = |lane, turn| {
        if let Some(node) = node.upgrade() {
            node.start_lane(link, lane, turn);
        }
    };
    match Call::begin(link, Outgoing::ping(patience), &counters, start).await {
        Ok(call) => Some(call.await.answer.is_heard()),
        Err(NotBegun { stopped: None, .. }) => Some(false),
        Err(_) => None,
    }
}

/// How often a request is put on a connection, or a lane of it, that turns out to have ended before:
/// the first time at once. Between nodes that leave idle connections at once, three in a row were.
const MAX_ATTEMPTS: usize = 8;

/// Uses a connection regularly from now on, so that neither end finds it idle.
fn keep_alive(node: &Arc<Node>, link: &Arc<Link>) {
    if link.begin_keeping() {
        let weak = Arc::downgrade(node);
        node.spawn(ping_regularly(weak, Arc::downgrade(link)));
    }
}

async fn ping_regularly(node: Weak<Node>, link: Weak<Link>) {
    loop {
        let Some(every) = node.upgrade().map(|node| node.config.keep_alive) else {
            return;
        };
        sleep(every).await;
        // One that takes no requests is no use to anybody once all is answered.
        let link = link.upgrade().filter(|link| link.takes_requests());
        let Some(lease) = link.and_then(|link| link.lease()) else {
            return;
        };
        if ping(&node, lease.link(), every).await != Some(true) {
            trace::keep_alive_unanswered(lease.link());
        }
    }
}
