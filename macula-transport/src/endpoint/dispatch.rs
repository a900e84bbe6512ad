//! Who answers which protocol, and how much is answered at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::runtime::Handle;

use super::calls::MAX_LANE_BODY_BYTES;
use super::config::EndpointConfig;
use super::link::{Lease, Link};
use super::pool::MAX_LINKS_PER_PEER;
use super::quota::{Quota, Share};
use super::request::{ProtocolId, ProtocolTaken, RequestHandler};
use super::stats::Counters;
use super::turns::MAX_ALONE;
use crate::Refusal;

/// The handlers, and the quotas for their work.
pub(super) struct Dispatch {
    protocols: RwLock<BTreeMap<ProtocolId, Arc<Protocol>>>,
    requests: Arc<Quota>,
    max_per_protocol: usize,
    body_bytes: Arc<Quota>,
    draining: AtomicBool,
}

/// Who answers a protocol.
pub(super) struct Protocol {
    pub(super) handler: Arc<dyn RequestHandler>,
    /// Where it runs; on the spot when there is none.
    pub(super) runtime: Option<Handle>,
    requests: Arc<Quota>,
}

/// What one request takes of the limits until its reply is out. Small, for it is moved along with
/// its request and its reply.
pub(super) struct Hold {
    lease: Lease,
    protocol: Arc<Protocol>,
    dispatch: Arc<Dispatch>,
    /// Of how many limits on requests it has taken its one.
    places: usize,
    body_bytes: usize,
}

impl Hold {
    /// How its request is answered.
    pub(super) fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// The limits on requests, the narrowest first.
    fn requests(&self) -> [&Quota; 3] {
        let of_peer = &self.lease.link().limits.requests;
        [of_peer, &self.protocol.requests, &self.dispatch.requests]
    }

    /// Takes the memory for a body, unless that was done while it came in; whether there is as much.
    fn take_body(&mut self, len_bytes: usize, share: Option<Box<BodyShare>>) -> bool {
        if let Some(mut share) = share {
            let has_room = share.grow_to(len_bytes);
            self.body_bytes = if has_room { share.leave() } else { 0 };
            return has_room;
        }
        if len_bytes == 0 {
            return true;
        }
        let (of_peer, in_all) = self.body_bytes();
        let reserve = Reserve::of_body(len_bytes);
        if !of_peer.take(len_bytes, reserve.of_peer) {
            return false;
        }
        if !in_all.take(len_bytes, reserve.in_all) {
            of_peer.give_back(len_bytes);
            return false;
        }
        self.body_bytes = len_bytes;
        true
    }

    /// The limits on the memory of bodies, of the peer and of all together.
    fn body_bytes(&self) -> (&Quota, &Quota) {
        let of_peer = &self.lease.link().limits.body_bytes;
        (of_peer, &self.dispatch.body_bytes)
    }

    /// Takes one of each limit on requests, as far as there is one.
    fn take_places(&mut self, counters: &Counters) -> Result<(), Refusal> {
        let overloaded = [
            &counters.overloaded_by_peer,
            &counters.overloaded_by_protocol,
            &counters.overloaded_in_all,
        ];
        for (at, overloaded) in overloaded.into_iter().enumerate() {
            if !self.requests()[at].take(1, 0) {
                overloaded.add();
                return Err(Refusal::Overloaded);
            }
            self.places = at + 1;
        }
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.body_bytes > 0 {
            let (of_peer, in_all) = self.body_bytes();
            of_peer.give_back(self.body_bytes);
            in_all.give_back(self.body_bytes);
        }
        for quota in &self.requests()[..self.places] {
            quota.give_back(1);
        }
    }
}

/// Memory for one body that comes in pieces, as much of it as has arrived: what is only announced
/// costs nothing, so that nobody can be kept out by it. Boxed, for most bodies come in one.
pub(super) struct BodyShare {
    of_peer: Share,
    /// Of all peers together; only for what peers have begun.
    total: Option<Share>,
    /// A connection is not idle while a request comes in on it.
    lease: Option<Lease>,
}

impl BodyShare {
    /// The same, with the lease of the connection that it comes on, which has none if it is left.
    pub(super) fn on(mut self: Box<Self>, link: &Arc<Link>) -> Box<Self> {
        self.lease = link.lease();
        self
    }

    /// Leaves what it has taken to somebody else to give back.
    fn leave(mut self) -> usize {
        self.total.as_mut().map(Share::leave);
        self.of_peer.leave()
    }

    /// Takes enough for so many bytes in all; whether there is as much.
    pub(super) fn grow_to(&mut self, len_bytes: usize) -> bool {
        let total = self.total.as_mut();
        self.of_peer.grow_to(len_bytes) && total.is_none_or(|total| total.grow_to(len_bytes))
    }
}

/// How far beyond the limits on memory a body may go.
struct Reserve {
    of_peer: usize,
    in_all: usize,
}

impl Reserve {
    /// Of a body of so many bytes.
    fn of_body(len_bytes: usize) -> Self {
        let (of_peer, in_all) = match len_bytes <= MAX_LANE_BODY_BYTES {
            true => (SHORT_RESERVE_BYTES_PER_PEER, SHORT_RESERVE_BYTES),
            false => (0, 0),
        };
        Self { of_peer, in_all }
    }
}

/// What one peer may take of this node, over all its connections.
pub(super) struct PeerLimits {
    requests: Arc<Quota>,
    body_bytes: Arc<Quota>,
    reply_bytes: Arc<Quota>,
    untaken_bytes: Arc<Quota>,
}

impl PeerLimits {
    pub(super) fn new(config: &EndpointConfig) -> Self {
        let longest = config.max_message_bytes.get();
        Self {
            requests: Quota::new(config.max_inbound_requests_per_peer.get()),
            body_bytes: Quota::new(MAX_INBOUND_BYTES_PER_PEER.max(longest)),
            reply_bytes: Quota::new(longest.saturating_mul(MAX_ALONE * MAX_LINKS_PER_PEER)),
            untaken_bytes: Quota::new(MAX_UNTAKEN_BYTES_PER_PEER),
        }
    }

    /// The same limits, for another peer.
    pub(super) fn anew(&self) -> Self {
        Self {
            requests: self.requests.anew(),
            body_bytes: self.body_bytes.anew(),
            reply_bytes: self.reply_bytes.anew(),
            untaken_bytes: self.untaken_bytes.anew(),
        }
    }

    /// Of what the peer may leave untaken of its answers: nothing yet.
    pub(super) fn untaken(&self) -> Share {
        self.untaken_bytes.share()
    }

    /// Memory for the body of a reply that the peer was asked for: none yet.
    pub(super) fn reply_body(&self) -> Box<BodyShare> {
        Box::new(BodyShare {
            of_peer: self.reply_bytes.share(),
            total: None,
            lease: None,
        })
    }
}

impl Dispatch {
    pub(super) fn new(config: &EndpointConfig) -> Self {
        let longest = config.max_message_bytes.get();
        Self {
            protocols: RwLock::default(),
            requests: Quota::new(config.max_inbound_requests.get()),
            max_per_protocol: config.max_inbound_requests_per_protocol.get(),
            body_bytes: Quota::new(MAX_INBOUND_BYTES.max(longest)),
            draining: AtomicBool::new(false),
        }
    }

    pub(super) fn register(
        &self,
        protocol: ProtocolId,
        handler: Arc<dyn RequestHandler>,
        runtime: Option<Handle>,
    ) -> Result<(), ProtocolTaken> {
        let mut protocols = self
            .protocols
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if protocol == ProtocolId::CONTROL || protocols.contains_key(&protocol) {
            return Err(ProtocolTaken(protocol));
        }
        let requests = Quota::new(self.max_per_protocol);
        let entry = Protocol {
            handler,
            runtime,
            requests,
        };
        protocols.insert(protocol, Arc::new(entry));
        Ok(())
    }

    fn protocol(&self, protocol: ProtocolId) -> Result<Arc<Protocol>, Refusal> {
        let protocols = self.protocols.read();
        let protocols = protocols.unwrap_or_else(PoisonError::into_inner);
        protocols
            .get(&protocol)
            .cloned()
            .ok_or(Refusal::UnknownProtocol)
    }

    /// Admits a request of a peer with so long a body, or says at once why not.
    pub(super) fn admit(
        self: &Arc<Self>,
        link: &Arc<Link>,
        protocol: ProtocolId,
        (body_len, share): (usize, Option<Box<BodyShare>>),
        counters: &Counters,
    ) -> Result<Hold, Refusal> {
        let mut hold = Hold {
            lease: link.lease().ok_or(Refusal::Leaving)?,
            protocol: self.protocol(protocol)?,
            dispatch: Arc::clone(self),
            places: 0,
            body_bytes: 0,
        };
        if !hold.take_body(body_len, share) {
            counters.overloaded_bodies.add();
            return Err(Refusal::Overloaded);
        }
        hold.take_places(counters)?;
        // Looked at after the share is taken, so that a drain either is seen or waits for it.
        match self.is_draining() {
            true => Err(Refusal::ShuttingDown),
            false => Ok(hold),
        }
    }

    /// Memory for a body of so many bytes of a peer's request: none yet.
    pub(super) fn request_body(&self, peer: &PeerLimits, len_bytes: usize) -> Box<BodyShare> {
        let reserve = Reserve::of_body(len_bytes);
        Box::new(BodyShare {
            of_peer: peer.body_bytes.share_beyond(reserve.of_peer),
            total: Some(self.body_bytes.share_beyond(reserve.in_all)),
            lease: None,
        })
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Refuses everything from now on.
    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Waits until nothing is being worked on; only after [`start_draining`](Self::start_draining).
    pub(super) async fn idle(&self) {
        self.requests.emptied().await;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.requests.used()
    }

    /// What the bodies of requests take, all peers together.
    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes.used()
    }

    /// Lets go of the handlers, which may hold the endpoint.
    pub(super) fn clear(&self) {
        let mut protocols = self
            .protocols
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let dropped = std::mem::take(&mut *protocols);
        drop(protocols);
        drop(dropped);
    }
}

/// The most memory for the bodies of requests being read or handled, all peers together; one of
/// the greatest length always fits.
const MAX_INBOUND_BYTES: usize = 128 * 1024 * 1024;

/// The same for one peer: it takes several to fill the whole.
const MAX_INBOUND_BYTES_PER_PEER: usize = 32 * 1024 * 1024;

/// The most of the answers to one peer that the transport holds because the peer has not taken them.
/// More than what all lanes of a connection can hold, so that no peer that reads ever waits for it.
const MAX_UNTAKEN_BYTES_PER_PEER: usize = 32 * 1024 * 1024;

/// So much more for bodies that are short enough for a lane: long ones must not take what the small
/// requests beside them need.
const SHORT_RESERVE_BYTES: usize = 16 * 1024 * 1024;

/// The same for one peer.
const SHORT_RESERVE_BYTES_PER_PEER: usize = 4 * 1024 * 1024;
