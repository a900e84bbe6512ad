//! Takes in the connections of peers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::timeout;

use super::handshake::{Greeting, Unheard};
use super::hello::{Hello, Purpose};
use super::hellos::Awaited;
use super::link::Greeted;
use super::node::Node;
use super::pool::Slot;
use super::reject::Rejection;
use super::trace;
use crate::{CloseCode, Connection, Transport};

/// Begins to accept, until the transport or the endpoint ends.
pub(super) fn start(node: &Arc<Node>) {
    let weak = Arc::downgrade(node);
    let transport = Arc::clone(&node.transport);
    node.spawn(accept_all(weak, transport));
}

async fn accept_all(weak: Weak<Node>, transport: Arc<dyn Transport>) {
    while let Some(connection) = transport.accept().await {
        let Some(node) = weak.upgrade() else { return };
        if node.dispatch.is_draining() {
            reject(&node, &*connection, Rejection::Draining);
            continue;
        }
        let newcomer = Newcomer {
            node: weak.clone(),
            awaited: node.hellos.enter(),
            connection,
            limit: node.config.dial_timeout,
        };
        node.spawn(newcomer.welcome());
    }
}

/// A connection whose peer has not said hello.
struct Newcomer {
    node: Weak<Node>,
    awaited: Awaited,
    connection: Arc<dyn Connection>,
    /// How long the peer may take for each step.
    limit: Duration,
}

impl Newcomer {
    /// Hears its hello and answers it, or closes the connection with the reason.
    async fn welcome(mut self) {
        let heard = self.hear().await;
        let Some(node) = self.node.upgrade() else {
            return;
        };
        let own = node.hello(None, Purpose::Requests);
        let greeting = match heard {
            Ok(greeting) => greeting,
            Err(unheard) => return reject(&node, &*self.connection, unheard.why),
        };
        if let Err(code) = own.check(&greeting.theirs) {
            // Before the stream is dropped, whose reset would say less.
            return reject(&node, &*self.connection, Rejection::of(code));
        }
        // It may have begun while the hello was awaited; from here on `attach` sees to it.
        if node.dispatch.is_draining() {
            return reject(&node, &*self.connection, Rejection::Draining);
        }
        match greeting.theirs.purpose {
            Purpose::Requests => match reserve(&node) {
                Some(slot) => {
                    drop(node);
                    self.take(slot, greeting, &own).await;
                }
                None => reject(&node, &*self.connection, Rejection::Full),
            },
            Purpose::Probe => {
                learn_own_address(&node, &*self.connection, &greeting.theirs);
                drop(node);
                self.let_probe(greeting, &own).await;
            }
        }
    }

    async fn hear(&mut self) -> Result<Greeting, Unheard> {
        let hello = timeout(self.limit, Greeting::hear(&*self.connection));
        match self.awaited.unless_displaced(hello).await {
            None => Err(Unheard::new(Rejection::Crowded)),
            Some(Err(_)) => Err(Unheard::new(Rejection::Silent)),
            Some(Ok(heard)) => heard,
        }
    }

    /// Takes the connection into use.
    async fn take(self, slot: Slot, greeting: Greeting, own: &Hello) {
        let Self {
            node,
            awaited,
            connection,
            limit,
        } = self;
        // Its place is in the pool from now on.
        drop(awaited);
        let answered = timeout(limit, greeting.answer(own)).await;
        let Some(node) = node.upgrade() else { return };
        let hello = match answered {
            Ok(Ok(hello)) => hello,
            Ok(Err(_)) => return reject(&node, &*connection, Rejection::Left),
            Err(_) => return reject(&node, &*connection, Rejection::Silent),
        };
        node.counters.accepted.add();
        let greeted = Greeted {
            connection,
            hello,
            outbound: false,
        };
        node.attach(slot, greeted);
    }

    /// Lets a peer see that it has reached us, and close the connection.
    async fn let_probe(mut self, greeting: Greeting, own: &Hello) {
        let connection = &*self.connection;
        let probe = async {
            greeting.answer(own).await?;
            Ok::<_, crate::StreamError>(connection.closed().await)
        };
        // One that does not close it is not kept for longer than a dial.
        let _ = self
            .awaited
            .unless_displaced(timeout(self.limit, probe))
            .await;
        connection.close(CloseCode::Done);
    }
}

/// Room for one more; refused at once when there is none, so that the peer can go elsewhere. Dials
/// that wait for room come before.
fn reserve(node: &Node) -> Option<Slot> {
    if node.pool.room().is_wanted() {
        return None;
    }
    node.reserve().ok()
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

fn reject(node: &Node, connection: &dyn Connection, why: Rejection) {
    node.counters.refused(why);
    trace::rejected(connection, why);
    connection.close(why.code());
}
