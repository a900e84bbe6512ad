//! What this node wants of its peers: connections, and answers to requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use macula_core::{Contact, DialTarget, NodeId};
use tokio::time::{Instant, sleep, timeout_at};

use super::carrier::{Outgoing, exchange};
use super::dial::dial;
use super::horizon::after;
use super::link::{Lease, Link};
use super::node::Node;
use super::peer::{Peer, Role};
use super::request::Request;
use crate::{CloseCode, DialError, Executed, RequestError, RequestFailure, StreamError};

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
        return Err(RequestError::not_executed(RequestFailure::TooLarge {
            limit_bytes,
        }));
    }
    let deadline = after(Instant::now(), request.timeout);
    let outgoing = Outgoing {
        protocol: request.protocol,
        timeout: request.timeout,
        deadline,
        body: request.body,
    };
    let sent = AtomicBool::new(false);
    let answer = attempts(node, to, &outgoing, &sent);
    timeout_at(deadline, answer).await.unwrap_or_else(|_| {
        Err(RequestError {
            failure: RequestFailure::Timeout(request.timeout),
            executed: match sent.load(Ordering::Relaxed) {
                true => Executed::Unknown,
                false => Executed::No,
            },
        })
    })
}

async fn attempts(
    node: &Arc<Node>,
    to: &Contact,
    request: &Outgoing,
    sent: &AtomicBool,
) -> Result<Bytes, RequestError> {
    let mut retried = false;
    loop {
        let lease = lease(node, to)
            .await
            .map_err(|error| RequestError::not_executed(RequestFailure::Dial(error)))?;
        let link = Arc::clone(lease.link());
        let limit_bytes = node.config.max_message_bytes.get();
        let awaited = link.answers.await_one();
        let answer = exchange(&*link.connection, request.clone(), limit_bytes, sent).await;
        awaited.ended(&answer);
        drop(lease);
        match answer {
            // The pooled connection had ended before the request got anywhere: once more.
            Err(error) if !retried && ended_before(&error) => {
                retried = true;
                sent.store(false, Ordering::Relaxed);
                node.detach(&link, CloseCode::Done);
            }
            answer => {
                if sent.load(Ordering::Relaxed) {
                    node.counters.requests_sent.add();
                }
                return answer;
            }
        }
    }
}

fn ended_before(error: &RequestError) -> bool {
    let interrupted = matches!(
        error.failure,
        RequestFailure::Interrupted(StreamError::Connection(_))
    );
    interrupted && error.executed == Executed::No
}

async fn lease(node: &Arc<Node>, to: &Contact) -> Result<Lease, DialError> {
    if let Some(lease) = node.pool.lease(&to.node_id) {
        return Ok(lease);
    }
    let reached = dial(node, &to.into()).await?;
    node.pool.lease(&reached.peer).ok_or(DialError::Unreachable)
}

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
        let Some(lease) = link.upgrade().and_then(|link| link.lease()) else {
            return;
        };
        let ping = Outgoing::ping(every);
        let deadline = ping.deadline;
        let sent = AtomicBool::new(false);
        let awaited = lease.link().answers.await_one();
        let answer = exchange(&*lease.link().connection, ping, 0, &sent);
        let Ok(answer) = timeout_at(deadline, answer).await else {
            continue;
        };
        awaited.ended(&answer);
        if let Err(error) = answer {
            let peer: NodeId = lease.link().node_id();
            tracing::debug!(peer = %peer.short(), %error, "keep-alive failed");
        }
    }
}
