//! What a connection and a listening socket may use, in the terms of s2n-quic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use s2n_quic::provider::endpoint_limits::{ConnectionAttempt, Limiter, Outcome};
use s2n_quic::provider::limits::{
    ConnectionInfo, HandshakeInfo, Limiter as ConnectionLimiter, Limits, UpdatableLimits,
};
use s2n_quic_core::connection::limits::ValidationError;

use super::config::{QuicConfig, QuicError};
use super::path_mtu::is_loopback;

/// Assumed until it is measured: the first retransmission comes after three times this.
pub(super) const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Handshakes in progress from which on newcomers first have to prove their address.
const HANDSHAKES_BEFORE_RETRY: usize = 128;

/// The most that a peer on loopback may have sent on a stream of its own before it is read.
///
/// A burst from elsewhere comes as fast as the network carries it, and others' packets come in
/// between. On loopback it is there at once, and has to be decrypted before whatever came after it:
/// this much takes about a tenth of a millisecond. With less, long bodies were slower.
const LOOPBACK_WINDOW_BYTES: u32 = 256 << 10;

/// The limits of connections, by where the peer is.
#[derive(Debug)]
pub(super) struct PathLimits {
    usual: Limits,
    on_loopback: Limits,
}

impl PathLimits {
    pub(super) fn new(config: &QuicConfig) -> Result<Self, QuicError> {
        let usual = config.stream_window_bytes;
        let of = |window_bytes| {
            limits(config, window_bytes)
                .map_err(|_| QuicError::Config("a limit is outside of what QUIC can express"))
        };
        Ok(Self {
            usual: of(usual)?,
            on_loopback: of(usual.min(LOOPBACK_WINDOW_BYTES))?,
        })
    }
}

impl ConnectionLimiter for PathLimits {
    fn on_connection(&mut self, connection: &ConnectionInfo<'_>) -> Limits {
        match is_loopback(&connection.remote_address) {
            true => self.on_loopback,
            false => self.usual,
        }
    }

    fn on_post_handshake(&mut self, _: &HandshakeInfo<'_>, _: &mut UpdatableLimits<'_>) {}
}

/// What the peer may send unread on a stream of its own is `unasked_window_bytes`.
fn limits(config: &QuicConfig, unasked_window_bytes: u32) -> Result<Limits, ValidationError> {
    Limits::new()
        .with_max_idle_timeout(config.idle_timeout)?
        .with_max_keep_alive_period(config.keep_alive)?
        .with_max_handshake_duration(config.handshake_timeout)?
        .with_initial_round_trip_time(INITIAL_RTT)?
        .with_data_window(config.connection_window_bytes.into())?
        .with_bidirectional_local_data_window(config.stream_window_bytes.into())?
        .with_bidirectional_remote_data_window(unasked_window_bytes.into())?
        .with_max_send_buffer_size(config.send_buffer_bytes)?
        .with_max_open_remote_bidirectional_streams(config.max_streams.into())?
        // The peer's limit is the one that counts for streams of our own.
        .with_max_open_local_bidirectional_streams(u32::MAX.into())?
        .with_max_open_remote_unidirectional_streams(0)?
        .with_max_open_local_unidirectional_streams(0)
}

/// Keeps handshakes with forged source addresses from filling a listening socket.
pub(super) struct HandshakeLimiter {
    max_handshakes: usize,
    counts: Arc<HandshakeCounts>,
}

impl HandshakeLimiter {
    pub(super) fn new(config: &QuicConfig, counts: &Arc<HandshakeCounts>) -> Self {
        Self {
            max_handshakes: config.max_handshakes,
            counts: Arc::clone(counts),
        }
    }
}

/// What became of those who came while too many handshakes were in progress.
#[derive(Debug, Default)]
pub(super) struct HandshakeCounts {
    retried: AtomicU64,
    refused: AtomicU64,
}

impl HandshakeCounts {
    /// How many were asked to prove their address first.
    pub(super) fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// How many were refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Limiter for HandshakeLimiter {
    fn on_connection_attempt(&mut self, attempt: &ConnectionAttempt<'_>) -> Outcome {
        let in_progress = attempt.inflight_handshakes;
        if in_progress >= self.max_handshakes {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            Outcome::close()
        } else if in_progress >= HANDSHAKES_BEFORE_RETRY {
            self.counts.retried.fetch_add(1, Ordering::Relaxed);
            Outcome::retry()
        } else {
            Outcome::allow()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use s2n_quic_core::event::IntoEvent as _;
    use s2n_quic_core::inet;
    use s2n_quic_core::time::{Clock as _, NoopClock};

    use super::*;

    /// What a peer may have sent on a stream of its own before it is read.
    fn unasked_window(limits: &mut PathLimits, peer: &str) -> String {
        let peer: SocketAddr = peer.parse().unwrap();
        let peer = inet::SocketAddress::from(peer);
        let limits = format!("{:?}", limits.on_connection(&ConnectionInfo::new(&peer)));
        let (_, window) = limits
            .split_once("bidirectional_remote_data_window: ")
            .unwrap();
        window
            .chars()
            .filter(char::is_ascii_digit)
            .take(6)
            .collect()
    }

    #[test]
    fn peers_on_loopback_may_send_less_before_it_is_read() {
        let mut limits = PathLimits::new(&QuicConfig::default()).unwrap();
        for peer in ["127.0.0.1:1", "[::1]:1"] {
            assert_eq!(unasked_window(&mut limits, peer), "262144");
        }
        assert_eq!(unasked_window(&mut limits, "192.0.2.1:1"), "209715");
        let config = QuicConfig {
            stream_window_bytes: 100_000,
            ..QuicConfig::default()
        };
        let mut small = PathLimits::new(&config).unwrap();
        assert_eq!(unasked_window(&mut small, "127.0.0.1:1"), "100000");
    }

    #[test]
    fn the_more_handshakes_are_in_progress_the_more_is_asked_of_newcomers() {
        let config = QuicConfig::default();
        let counts = Arc::default();
        let mut limiter = HandshakeLimiter::new(&config, &counts);
        let peer = inet::SocketAddress::default();
        let now = NoopClock.get_time();
        let mut outcome = |in_progress| {
            let attempt = ConnectionAttempt::new(in_progress, in_progress, &peer, now.into_event());
            limiter.on_connection_attempt(&attempt)
        };
        let most = config.max_handshakes;
        let [few, many] = [0, HANDSHAKES_BEFORE_RETRY - 1].map(&mut outcome);
        assert_eq!((few, many), (Outcome::allow(), Outcome::allow()));
        let [more, most_of_all] = [HANDSHAKES_BEFORE_RETRY, most - 1].map(&mut outcome);
        assert_eq!((more, most_of_all), (Outcome::retry(), Outcome::retry()));
        assert_eq!(outcome(most), Outcome::close());
        assert_eq!((counts.retried(), counts.refused()), (2, 1));
    }
}
