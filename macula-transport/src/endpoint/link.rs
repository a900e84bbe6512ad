//! One connection whose hello was accepted, and whether it is in use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use macula_core::NodeId;
use tokio::time::Instant;

use super::calls::Calls;
use super::config::EndpointConfig;
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
    max_lane_body_bytes: usize,
    /// Where to tell that it has become idle.
    room: Arc<Room>,
    /// How many hold it, and whether it is retired: `RETIRED` is set then, for good.
    leases: AtomicUsize,
    /// When the last of them let go, in microseconds since `created`.
    last_used_micros: AtomicU64,
    created: Instant,
    /// Somebody uses it regularly only so that it stays.
    is_kept: AtomicBool,
}

/// What shares the streams of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sharing {
    max_lanes: usize,
    max_body_bytes: usize,
}

impl Sharing {
    pub(super) fn new(config: &EndpointConfig) -> Self {
        Self {
            max_lanes: config.max_lanes.get(),
            max_body_bytes: config.max_lane_body_bytes,
        }
    }
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
        sharing: Sharing,
        greeted: Greeted,
    ) -> Self {
        Self {
            number,
            connection: greeted.connection,
            hello: greeted.hello,
            outbound: greeted.outbound,
            limits,
            calls: Calls::new(sharing.max_lanes),
            running: Running::new(),
            turns: Turns::new(),
            max_lane_body_bytes: sharing.max_body_bytes,
            room,
            leases: AtomicUsize::new(0),
            last_used_micros: AtomicU64::new(0),
            created: Instant::now(),
            is_kept: AtomicBool::new(false),
        }
    }

    pub(super) fn node_id(&self) -> NodeId {
        self.connection.peer()
    }

    /// Whether a body is long enough for a stream of its own.
    pub(super) fn travels_alone(&self, body: &Bytes) -> bool {
        body.len() > self.max_lane_body_bytes
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
        let leases = self.leases.fetch_add(1, Ordering::SeqCst);
        let lease = Lease {
            link: Arc::clone(self),
        };
        (leases & RETIRED == 0).then_some(lease)
    }

    /// Whether the peer takes requests on it, as far as we know.
    pub(super) fn takes_requests(&self) -> bool {
        !self.calls.is_stopped()
    }

    /// Since when nothing has been in flight.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.leases.load(Ordering::SeqCst) == 0;
        is_idle.then(|| self.last_used())
    }

    /// Takes it out of use for good if nothing is in flight.
    pub(super) fn retire_if_idle(&self) -> bool {
        let retired = self
            .leases
            .compare_exchange(0, RETIRED, Ordering::SeqCst, Ordering::SeqCst);
        retired.is_ok()
    }

    /// The same if nothing has been in flight for so long.
    pub(super) fn retire_if_idle_for(&self, idle: Duration) -> bool {
        self.last_used().elapsed() >= idle && self.retire_if_idle()
    }

    /// Takes it out of use whatever is in flight.
    pub(super) fn retire(&self) {
        self.leases.fetch_or(RETIRED, Ordering::SeqCst);
    }

    fn last_used(&self) -> Instant {
        let micros = self.last_used_micros.load(Ordering::SeqCst);
        self.created + Duration::from_micros(micros)
    }

    fn used_now(&self) {
        let micros = u64::try_from(self.created.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_used_micros.store(micros, Ordering::SeqCst);
    }

    /// Ends it at once, and everything on it.
    pub(super) fn close(&self, code: CloseCode) {
        self.retire();
        // Before the peer hears of it: what it does then to their streams is not why they fail.
        self.calls.end(ConnectionError::Closed(code));
        self.connection.close(code);
        self.running.abort_all();
    }

    /// It has ended: whoever waits for something on it hears so.
    pub(super) fn end(&self, error: ConnectionError) {
        self.calls.end(error);
        self.running.abort_all();
    }

    /// Whether the caller is the first to keep it from growing idle.
    pub(super) fn begin_keeping(&self) -> bool {
        !self.is_kept.swap(true, Ordering::SeqCst)
    }
}

impl Lease {
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let link = &self.link;
        // Before it is given back: whoever finds it idle finds since when.
        let is_last = link.leases.load(Ordering::SeqCst) == 1;
        if is_last {
            link.used_now();
        }
        if link.leases.fetch_sub(1, Ordering::SeqCst) == 1 {
            if !is_last {
                // Another let go at the same time.
                link.used_now();
            }
            link.room.vacate();
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

/// The bit of `leases` that says that no more are given out.
const RETIRED: usize = 1 << (usize::BITS - 1);
