//! How a QUIC transport is set up, and what is refused.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use s2n_quic::provider::StartError;

/// Settings of a [`QuicTransport`](super::QuicTransport), checked when it is bound.
///
/// The default only dials.
#[derive(Debug, Clone)]
pub struct QuicConfig {
    /// Where to accept connections, at most one socket per address; port 0 lets the system choose.
    /// IPv6 sockets carry IPv6 only, so both families can have the same port. Empty: dial only.
    pub listen: Vec<SocketAddr>,
    /// How long a connection survives without a packet from the peer. The smaller of both sides'
    /// counts; longer means that dead peers are noticed later.
    pub idle_timeout: Duration,
    /// How often each side pings on a quiet connection; below `idle_timeout`. Longer saves packets
    /// but lets middleboxes forget the connection.
    pub keep_alive: Duration,
    /// How long one handshake with one address, or the resolution of one name, may take.
    pub handshake_timeout: Duration,
    /// How many streams a peer may have open at once. Each open stream costs its state (about a
    /// kilobyte) and may hold up to `stream_window_bytes` of unread data.
    pub max_streams: u32,
    /// How much unread data a peer may have sent on one connection, in bytes. This bounds the
    /// memory that a connection costs, and its throughput to this much per round trip.
    pub connection_window_bytes: u32,
    /// The same for one stream, at most half of `connection_window_bytes`: a stream that nobody
    /// reads must leave room for the others. Peers on loopback have less on the streams they open.
    pub stream_window_bytes: u32,
    /// How much of what was sent on one stream may wait for room at the peer or for its
    /// acknowledgement. What a stream that nobody reads has waiting takes from the connection's
    /// window, on top of the stream's; more lets one stream be faster on long ways.
    pub send_buffer_bytes: u32,
    /// How many accepted connections may wait to be taken; further ones are closed as overloaded.
    pub accept_backlog: usize,
    /// From how many handshakes in progress at a listening socket newcomers are refused. Long before
    /// they first have to prove that they are where they say; those who have just done so are still
    /// let in. Each costs some tens of kilobytes until it is over.
    pub max_handshakes: usize,
    /// Sockets of the `turmoil` host that it is bound on, instead of the operating system's, and
    /// everything that QUIC draws at random from this seed; every transport of a simulation needs
    /// another. Equal seeds give packets of equal sizes at equal times, but not of equal bytes:
    /// TLS draws its keys from the system. IPv4 only.
    #[cfg(feature = "simulation")]
    pub simulation_seed: Option<u64>,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(5),
            max_streams: 1024,
            connection_window_bytes: 24 << 20,
            stream_window_bytes: 2 << 20,
            send_buffer_bytes: 768 << 10,
            accept_backlog: 256,
            max_handshakes: 4096,
            #[cfg(feature = "simulation")]
            simulation_seed: None,
        }
    }
}

impl QuicConfig {
    pub(super) fn check(&self) -> Result<(), QuicError> {
        let broken = [
            (
                self.keep_alive >= self.idle_timeout,
                "keep_alive is not below idle_timeout",
            ),
            (self.keep_alive.is_zero(), "keep_alive is zero"),
            (
                self.handshake_timeout.is_zero(),
                "handshake_timeout is zero",
            ),
            (self.max_streams == 0, "max_streams is zero"),
            (self.stream_window_bytes == 0, "stream_window_bytes is zero"),
            (self.send_buffer_bytes == 0, "send_buffer_bytes is zero"),
            (
                self.stream_window_bytes > self.connection_window_bytes / 2,
                "stream_window_bytes is above half of connection_window_bytes",
            ),
            (self.accept_backlog == 0, "accept_backlog is zero"),
            (self.max_handshakes == 0, "max_handshakes is zero"),
            #[cfg(feature = "simulation")]
            (
                self.simulation_seed.is_some() && self.listen.iter().any(SocketAddr::is_ipv6),
                "a simulated host has no IPv6",
            ),
        ];
        match broken.iter().find(|(is_broken, _)| *is_broken) {
            Some((_, rule)) => Err(QuicError::Config(rule)),
            None => Ok(()),
        }
    }
}

/// Why a QUIC transport cannot be bound. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuicError {
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(&'static str),
    /// The address is taken, not of this host, or not permitted.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: StartError,
    },
    /// There is no socket to dial from.
    #[error("cannot open a socket to dial from")]
    DialSocket(#[source] StartError),
    /// The operating system gives no socket.
    #[error("cannot set a socket up")]
    Socket(#[from] io::Error),
    /// The TLS library refuses the key or the settings.
    #[error("cannot set TLS up")]
    Tls(#[from] rustls::Error),
}

impl From<Infallible> for QuicError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert!(QuicConfig::default().check().is_ok());
    }

    #[test]
    fn a_stream_window_that_could_starve_the_connection_is_refused() {
        let config = QuicConfig {
            stream_window_bytes: 13 << 20,
            ..QuicConfig::default()
        };
        assert!(matches!(config.check(), Err(QuicError::Config(_))));
    }

    #[test]
    fn a_keep_alive_slower_than_the_idle_timeout_is_refused() {
        let config = QuicConfig {
            keep_alive: Duration::from_secs(31),
            ..QuicConfig::default()
        };
        assert!(matches!(config.check(), Err(QuicError::Config(_))));
    }
}
