//! What this node wants of its peers: connections, and answers to requests.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, DialTarget};
use tokio::time::{Instant, sleep, timeout_at};

use super::call::{Call, Sent};
use super::calls::{Answer, Outgoing, Stopped};
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
pub(super) async fn request(
    node: &Arc<Node>,
    to: &Contact,
    request: Request,
) -> Result<Bytes, RequestError> {
    if node.is_closing() {
        return Err(RequestError::not_executed(RequestFailure::ShuttingDown));
    }
    let limit_bytes = node.config.max_message_bytes.get();
    if request.body.len() > limit_bytes {
        let failure = RequestFailure::TooLarge { limit_bytes };
        return Err(RequestError::not_executed(failure));
    }
    let outgoing = Outgoing {
        protocol: request.protocol,
        deadline: after(Instant::now(), request.timeout),
        body: request.body,
    };
    let sent = Sent::default();
    let answer = attempts(node, to, &outgoing, &sent);
    match timeout_at(outgoing.deadline, answer).await {
        Ok(answer) => answer?.into_result(request.timeout, limit_bytes),
        Err(_) => Err(RequestError {
            failure: RequestFailure::Timeout(request.timeout),
            executed: match sent.is_sent() {
                true => Executed::Unknown,
                false => Executed::No,
            },
        }),
    }
}

async fn attempts(
    node: &Arc<Node>,
    to: &Contact,
    request: &Outgoing,
    sent: &Sent,
) -> Result<Answer, RequestError> {
    for _ in 1..MAX_ATTEMPTS {
        // One that has not begun found a connection or a lane that had ended, or was about to.
        if let Attempted::Answered(answer) = attempt(node, to, request, sent).await? {
            return Ok(answer);
        }
    }
    match attempt(node, to, request, sent).await? {
        Attempted::Answered(answer) => Ok(answer),
        Attempted::NotBegun(failure) => Err(RequestError::not_executed(failure)),
    }
}

/// What came of sending a request on the connection there was.
enum Attempted {
    Answered(Answer),
    NotBegun(RequestFailure),
}

async fn attempt(
    node: &Arc<Node>,
    to: &Contact,
    request: &Outgoing,
    sent: &Sent,
) -> Result<Attempted, RequestError> {
    let lease = match lease(node, to).await {
        Ok(lease) => lease,
        Err(failure @ RequestFailure::Interrupted(_)) => return Ok(Attempted::NotBegun(failure)),
        Err(failure) => return Err(RequestError::not_executed(failure)),
    };
    let link = lease.link();
    let start = |lane, turn| node.start_lane(link, lane, turn);
    let outcome = match Call::begin(link, request, sent, start).await {
        Ok(call) => Ok(call.await),
        Err(stopped) => Err(stopped),
    };
    let failure = match outcome {
        Err(Stopped::Ended(error)) | Ok(Answer::Unsent(StreamError::Connection(error))) => {
            node.ended(link, error);
            RequestFailure::Interrupted(error.into())
        }
        // Its stream broke down before it was sent; another may do.
        Ok(Answer::Unsent(error)) => RequestFailure::Interrupted(error),
        Err(Stopped::Leaving(CloseCode::ShuttingDown)) => {
            RequestFailure::Refused(Refusal::ShuttingDown)
        }
        Err(Stopped::Leaving(_)) | Ok(Answer::Refused(Refusal::Leaving)) => {
            link.calls.stop(CloseCode::Idle);
            return Ok(Attempted::NotBegun(RequestFailure::Refused(
                Refusal::Leaving,
            )));
        }
        Ok(answer) => return Ok(Attempted::Answered(answer)),
    };
    Ok(Attempted::NotBegun(failure))
}

async fn lease(node: &Arc<Node>, to: &Contact) -> Result<Lease, RequestFailure> {
    if let Some(lease) = node.pool.lease(&to.node_id) {
        return Ok(lease);
    }
    if node.pool.is_departing(&to.node_id) {
        return Err(RequestFailure::Refused(Refusal::ShuttingDown));
    }
    let target = to.into();
    // Boxed, for most requests do not need it and would carry room for it.
    let dialling = Box::pin(dial(node, &target));
    let reached = dialling.await.map_err(RequestFailure::Dial)?;
    // It may have ended as soon as it came about.
    let lost = RequestFailure::Interrupted(ConnectionError::Lost.into());
    node.pool.lease(&reached.peer).ok_or(lost)
}

/// Asks the peer's endpoint for a sign of life; whether there was one in time, `None` if the
/// connection has ended.
pub(super) async fn ping(node: &Weak<Node>, link: &Arc<Link>, patience: Duration) -> Option<bool> {
    let ping = Outgoing::ping(patience);
    let sent = Sent::default();
    let answer = async {
        let start = |lane, turn| {
            if let Some(node) = node.upgrade() {
                node.start_lane(link, lane, turn);
            }
        };
        let call = Call::begin(link, &ping, &sent, start).await.ok()?;
        Some(call.await.is_heard())
    };
    timeout_at(ping.deadline, answer)
        .await
        .unwrap_or(Some(false))
}

/// How often a request is put on a connection, or a lane of it, that turns out to have ended before.
const MAX_ATTEMPTS: usize = 3;

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
