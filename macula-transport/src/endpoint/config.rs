//! How an endpoint is set up, and what it holds back from.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use macula_core::{Addresses, Realm};

use super::calls::{MAX_LANE_BODY_BYTES, MAX_LANES};
use super::peer::Role;

/// Settings of an [`Endpoint`](crate::Endpoint).
///
/// What a node bears of others is limited here and by constants: SPEC.md, §16 lists every limit with
/// its default, what happens when it is reached, and the counter that tells of it.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Peers of other realms are refused.
    pub realm: Realm,
    /// Whether other nodes may dial this one.
    pub role: Role,
    /// The addresses to tell others, where the operator knows them; empty: find out.
    pub advertise: Addresses,
    /// The most connections in use at a time, dials included. At the limit the least recently used
    /// idle one makes room. While none is idle, a dial waits for one, and a peer that dials us is
    /// refused at once. Each idle one costs the transport some kilobytes.
    ///
    /// Those out of use come on top: at most as many that are taken leave of, for a moment
    /// ([`closed_abruptly`](crate::EndpointStats::closed_abruptly) counts what is beyond), a bounded
    /// number of peers that have not said hello
    /// ([`refused_crowded`](crate::EndpointStats::refused_crowded)), and paced
    /// [probes](crate::EndpointStats::probes).
    pub max_connections: NonZeroUsize,
    /// How long a connection without a request in flight is kept; one that a peer has dialled and
    /// not used yet at least for `dial_timeout`. Longer saves handshakes and costs open
    /// connections; less than a round trip makes nearly every request dial anew.
    pub idle_timeout: Duration,
    /// How often a `Client` node uses the connections it asked for with
    /// [`connect`](crate::Endpoint::connect), so that its peers keep them. Should be well below the
    /// peers' `idle_timeout`.
    pub keep_alive: Duration,
    /// How long a peer may leave every request unanswered before it is asked whether it still
    /// answers at all, and how long it may take to say so. Shorter finds the dead sooner and asks
    /// peers whose handlers are slow more often.
    pub ping_interval: Duration,
    /// How many such pings in a row have to stay unanswered until the peer is taken for dead and
    /// that connection is closed.
    pub max_missed_pings: NonZeroU32,
    /// One deadline over all of a dial: waiting for room and for its turn, name resolution,
    /// handshake and hello.
    pub dial_timeout: Duration,
    /// The most dials at a time whose handshake keeps this node busy; the others wait for their turn.
    /// Those that wait for the network do not count, so that a turn comes soon also when nobody
    /// answers. More connects sooner to many peers at once, and lets the requests
    /// that are under way wait for longer.
    pub max_handshakes: NonZeroUsize,
    /// How long [`drain`](crate::Endpoint::drain) waits for running handlers, and for their replies
    /// to arrive.
    pub drain_timeout: Duration,
    /// The longest body of a request or a reply, in bytes.
    pub max_message_bytes: NonZeroUsize,
    /// The most requests being handled at a time; more are answered as overload.
    pub max_inbound_requests: NonZeroUsize,
    /// The same for the requests of one protocol: what is left over is for the others.
    pub max_inbound_requests_per_protocol: NonZeroUsize,
    /// The same for the requests of one peer.
    pub max_inbound_requests_per_peer: NonZeroUsize,
    /// The most lanes that this node opens on a connection, from 1 to
    /// [`DEFAULT_MAX_LANES`](Self::DEFAULT_MAX_LANES). With fewer, a lost packet holds up more of
    /// the requests that are under way; each costs a stream. Between near nodes fewer do anyway.
    pub max_lanes: NonZeroUsize,
    /// The longest body, in bytes, that shares a lane with others; a longer one travels alone. More
    /// saves streams for long bodies, and lets short requests wait behind them.
    pub max_lane_body_bytes: usize,
    /// Seed of all jitter; derived from the node id when none is given.
    pub seed: Option<u64>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            realm: Realm::default(),
            role: Role::Server,
            advertise: Addresses::default(),
            max_connections: Self::DEFAULT_MAX_CONNECTIONS,
            idle_timeout: Self::DEFAULT_IDLE_TIMEOUT,
            keep_alive: Self::DEFAULT_KEEP_ALIVE,
            ping_interval: Self::DEFAULT_PING_INTERVAL,
            max_missed_pings: Self::DEFAULT_MAX_MISSED_PINGS,
            dial_timeout: Self::DEFAULT_DIAL_TIMEOUT,
            max_handshakes: Self::DEFAULT_MAX_HANDSHAKES,
            drain_timeout: Self::DEFAULT_DRAIN_TIMEOUT,
            max_message_bytes: Self::DEFAULT_MAX_MESSAGE_BYTES,
            max_inbound_requests: Self::DEFAULT_MAX_INBOUND_REQUESTS,
            max_inbound_requests_per_protocol: Self::DEFAULT_MAX_INBOUND_REQUESTS_PER_PROTOCOL,
            max_inbound_requests_per_peer: Self::DEFAULT_MAX_INBOUND_REQUESTS_PER_PEER,
            max_lanes: Self::DEFAULT_MAX_LANES,
            max_lane_body_bytes: Self::DEFAULT_MAX_LANE_BODY_BYTES,
            seed: None,
        }
    }
}

/// Why an endpoint cannot be started with its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointConfigError {
    /// A `Server` node whose transport listens nowhere.
    #[error("a server node needs a listening transport")]
    NotListening,
    /// An address to advertise that nobody could dial.
    #[error("advertised addresses need a specific ip and a port")]
    UndialableAddress,
    /// A timeout of zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// A message limit that the frame header cannot express.
    #[error("messages of more than {} bytes cannot be framed", u32::MAX)]
    MessageLimit,
    /// More lanes than a peer has to put up with.
    #[error("there are at most {MAX_LANES} lanes")]
    TooManyLanes,
}

impl EndpointConfig {
    /// Default of `max_connections`.
    pub const DEFAULT_MAX_CONNECTIONS: NonZeroUsize = non_zero(1024);

    /// Default of `idle_timeout`.
    pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

    /// Default of `keep_alive`.
    pub const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(15);

    /// Default of `ping_interval`.
    pub const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(1);

    /// Default of `max_missed_pings`.
    pub const DEFAULT_MAX_MISSED_PINGS: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

    /// Default of `dial_timeout`.
    pub const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(3);

    /// Default of `max_handshakes`: a handshake keeps the node's thread busy for a fraction of a
    /// millisecond, and a request should not wait for more than one of them.
    pub const DEFAULT_MAX_HANDSHAKES: NonZeroUsize = NonZeroUsize::MIN;

    /// Default of `drain_timeout`.
    pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

    /// Default of `max_message_bytes`.
    pub const DEFAULT_MAX_MESSAGE_BYTES: NonZeroUsize = non_zero(16 * 1024 * 1024);

    /// Default of `max_inbound_requests`.
    pub const DEFAULT_MAX_INBOUND_REQUESTS: NonZeroUsize = non_zero(4096);

    /// Default of `max_inbound_requests_per_protocol`.
    pub const DEFAULT_MAX_INBOUND_REQUESTS_PER_PROTOCOL: NonZeroUsize = non_zero(3072);

    /// Default of `max_inbound_requests_per_peer`.
    pub const DEFAULT_MAX_INBOUND_REQUESTS_PER_PEER: NonZeroUsize = non_zero(1024);

    /// Default of `max_lanes`: at 20 ms round trip and 1 % loss as many are as quick as a stream for
    /// each request.
    pub const DEFAULT_MAX_LANES: NonZeroUsize = non_zero(MAX_LANES);

    /// Default of `max_lane_body_bytes`: longer ones held up the short requests of their lane.
    pub const DEFAULT_MAX_LANE_BODY_BYTES: usize = MAX_LANE_BODY_BYTES;

    pub(super) fn check(&self, listens: bool) -> Result<(), EndpointConfigError> {
        if self.role == Role::Server && !listens {
            return Err(EndpointConfigError::NotListening);
        }
        if !self.advertise.are_dialable() {
            return Err(EndpointConfigError::UndialableAddress);
        }
        if u32::try_from(self.max_message_bytes.get()).is_err() {
            return Err(EndpointConfigError::MessageLimit);
        }
        if self.max_lanes > Self::DEFAULT_MAX_LANES {
            return Err(EndpointConfigError::TooManyLanes);
        }
        let timeouts = [
            ("idle_timeout", self.idle_timeout),
            ("keep_alive", self.keep_alive),
            ("ping_interval", self.ping_interval),
            ("dial_timeout", self.dial_timeout),
        ];
        match timeouts.iter().find(|(_, timeout)| timeout.is_zero()) {
            Some((name, _)) => Err(EndpointConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

const fn non_zero(value: usize) -> NonZeroUsize {
    match NonZeroUsize::new(value) {
        Some(value) => value,
        None => NonZeroUsize::MIN,
    }
}
