//! One connection whose hello was accepted, and whether it is in use.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use macula_core::NodeId;
use tokio::time::Instant;

use super::calls::Calls;
use super::dispatch::PeerLimits;
use super::hello::Hello;
use super::peer::{PeerConnection, Role};
use super::room::Room;
use super::running::Running;
use super::turns::Turns;
use crate::{CloseCode, Connection, ConnectionError};

/// A live connection.
pub(super) struct Link {
    /// Tells apart the connections of one peer.
    pub(super) number: u64,
    pub(super) connection: Arc<dyn Connection>,
    pub(super) hello: Hello,
    pub(super) outbound: bool,
    /// What this peer may take of this node, over all its connections.
    pub(super) limits: Arc<PeerLimits>,
    /// What we have asked.
    pub(super) calls: Calls,
    /// What the peer has asked.
    pub(super) running: Running,
    /// Turns of the long bodies that we send.
    pub(super) turns: Turns,
    /// Where to tell that it has become idle.
    room: Arc<Room>,
    usage: Mutex<Usage>,
}

struct Usage {
    in_flight: usize,
    last_used: Instant,
    /// No longer to be used: it is being closed.
    retired: bool,
    /// Somebody uses it regularly only so that it stays.
    kept: bool,
}

/// One request's hold on a link: while it lasts, the link is not idle.
pub(super) struct Lease {
    link: Arc<Link>,
}

impl Link {
    pub(super) fn new(
        number: u64,
        limits: Arc<PeerLimits>,
        room: Arc<Room>,
        greeted: Greeted,
    ) -> Self {
        Self {
            number,
            connection: greeted.connection,
            hello: greeted.hello,
            outbound: greeted.outbound,
            limits,
            calls: Calls::new(),
            running: Running::new(),
            turns: Turns::new(),
            room,
            usage: Mutex::new(Usage {
                in_flight: 0,
                last_used: Instant::now(),
                retired: false,
                kept: false,
            }),
        }
    }

    pub(super) fn node_id(&self) -> NodeId {
        self.connection.peer()
    }

    pub(super) fn snapshot(&self) -> PeerConnection {
        PeerConnection {
            number: self.number,
            node_id: self.node_id(),
            role: self.hello.role,
            outbound: self.outbound,
            address: self.connection.remote_address(),
            rtt: self.connection.rtt(),
            traffic: self.connection.traffic(),
        }
    }

    /// Takes hold of it, unless it is being closed.
    pub(super) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut usage = self.usage();
        if usage.retired {
            return None;
        }
        usage.in_flight += 1;
        drop(usage);
        Some(Lease {
            link: Arc::clone(self),
        })
    }

    /// Whether the peer takes requests on it, as far as we know.
    pub(super) fn takes_requests(&self) -> bool {
        !self.calls.is_stopped()
    }

    /// Since when nothing has been in flight.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let usage = self.usage();
        (usage.in_flight == 0 && !usage.retired).then_some(usage.last_used)
    }

    /// Takes it out of use for good if nothing is in flight.
    pub(super) fn retire_if_idle(&self) -> bool {
        self.retire_if_idle_for(Duration::ZERO)
    }

    /// The same if nothing has been in flight for so long.
    pub(super) fn retire_if_idle_for(&self, idle: Duration) -> bool {
        let mut usage = self.usage();
        let is_idle = usage.in_flight == 0 && usage.last_used.elapsed() >= idle;
        let retires = is_idle && !usage.retired;
        usage.retired |= retires;
        retires
    }

    /// Takes it out of use whatever is in flight.
    pub(super) fn retire(&self) {
        self.usage().retired = true;
    }

    /// Ends it at once, and everything on it.
    pub(super) fn close(&self, code: CloseCode) {
        self.retire();
        self.connection.close(code);
        self.end(ConnectionError::Closed(code));
    }

    /// It has ended: whoever waits for something on it hears so.
    pub(super) fn end(&self, error: ConnectionError) {
        self.calls.end(error);
        self.running.abort_all();
    }

    /// Whether the caller is the first to keep it from growing idle.
    pub(super) fn begin_keeping(&self) -> bool {
        !std::mem::replace(&mut self.usage().kept, true)
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut usage = self.link.usage();
        usage.in_flight -= 1;
        usage.last_used = Instant::now();
        let is_idle = usage.in_flight == 0;
        drop(usage);
        if is_idle {
            self.link.room.vacate();
        }
    }
}

/// A connection after the hellos.
pub(super) struct Greeted {
    pub(super) connection: Arc<dyn Connection>,
    pub(super) hello: Hello,
    pub(super) outbound: bool,
}

impl Greeted {
    /// The address at which we have reached the peer, if we dialled it and others can.
    pub(super) fn proved_address(&self) -> Option<SocketAddr> {
        let is_proof = self.outbound && self.hello.role == Role::Server;
        is_proof.then(|| self.connection.remote_address())
    }
}
