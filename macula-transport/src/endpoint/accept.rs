//! Takes in the connections of peers.

use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::handshake::Greeting;
use super::hello::{Hello, Purpose};
use super::link::Greeted;
use super::node::Node;
use crate::{CloseCode, Connection, Transport};

/// Begins to accept, until the transport or the endpoint ends.
pub(super) fn start(node: &Arc<Node>) {
    let weak = Arc::downgrade(node);
    let transport = Arc::clone(&node.transport);
    node.spawn(accept_all(weak, transport));
}

async fn accept_all(weak: Weak<Node>, transport: Arc<dyn Transport>) {
    let waiting = Arc::new(Semaphore::new(MAX_WAITING));
    while let Some(connection) = transport.accept().await {
        let Some(node) = weak.upgrade() else { return };
        if node.dispatch.is_draining() {
            connection.close(CloseCode::ShuttingDown);
            continue;
        }
        let Ok(permit) = Arc::clone(&waiting).try_acquire_owned() else {
            refuse(&node, &*connection, CloseCode::Overloaded);
            continue;
        };
        let weak = weak.clone();
        node.spawn(async move {
            welcome(weak, connection).await;
            drop(permit);
        });
    }
}

/// Hears a peer's hello and answers it, or closes the connection with the reason.
async fn welcome(weak: Weak<Node>, connection: Arc<dyn Connection>) {
    let Some(limit) = weak.upgrade().map(|node| node.config.dial_timeout) else {
        return;
    };
    let heard = match timeout(limit, Greeting::hear(&*connection)).await {
        Ok(heard) => heard,
        Err(_) => Err(Some(CloseCode::HelloTimeout)),
    };
    let Some(node) = weak.upgrade() else { return };
    let greeting = match heard {
        Ok(greeting) => greeting,
        Err(Some(code)) => return refuse(&node, &*connection, code),
        Err(None) => return,
    };
    let own = node.hello(None, Purpose::Requests);
    if let Err(code) = own.check(&greeting.theirs) {
        return refuse(&node, &*connection, code);
    }
    match greeting.theirs.purpose {
        Purpose::Requests => {
            // Refused at once, so that the peer can go elsewhere; who waits for room comes before.
            let slot = match node.pool.room().is_wanted() {
                true => None,
                false => node.reserve().ok(),
            };
            let Some(slot) = slot else {
                return refuse(&node, &*connection, CloseCode::Overloaded);
            };
            drop(node);
            let Some(hello) = answer(greeting, &own, &*connection, limit).await else {
                return;
            };
            let Some(node) = weak.upgrade() else { return };
            node.counters.accepted.add();
            let greeted = Greeted {
                connection,
                hello,
                outbound: false,
            };
            node.attach(slot, greeted);
        }
        Purpose::Probe => {
            learn_own_address(&node, &*connection, &greeting.theirs);
            drop(node);
            if answer(greeting, &own, &*connection, limit).await.is_some() {
                // The prober closes it; one that does not is not kept for longer than a dial.
                let _ = timeout(limit, connection.closed()).await;
                connection.close(CloseCode::Done);
            }
        }
    }
}

async fn answer(
    greeting: Greeting,
    own: &Hello,
    connection: &dyn Connection,
    limit: std::time::Duration,
) -> Option<Hello> {
    match timeout(limit, greeting.answer(own)).await {
        Ok(Ok(theirs)) => Some(theirs),
        _ => {
            connection.close(CloseCode::HelloTimeout);
            None
        }
    }
}

/// Only a peer that we are connected with is believed: anybody can dial and claim anything.
fn learn_own_address(node: &Node, connection: &dyn Connection, theirs: &Hello) {
    let peer = connection.peer();
    if let Some(dialled) = theirs.dialled
        && node.pool.is_connected(&peer)
    {
        node.own_addresses.confirm(peer, dialled);
    }
}

fn refuse(node: &Node, connection: &dyn Connection, code: CloseCode) {
    node.counters.refused(code);
    tracing::debug!(peer = %connection.peer().short(), ?code, "connection refused");
    connection.close(code);
}

/// The most connections whose hello is awaited at a time.
const MAX_WAITING: usize = 256;
