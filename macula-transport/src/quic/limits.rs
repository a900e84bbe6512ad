//! What a connection and a listening socket may use, in the terms of s2n-quic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use s2n_quic::provider::endpoint_limits::{ConnectionAttempt, Limiter, Outcome};
use s2n_quic::provider::limits::Limits;
use s2n_quic_core::connection::limits::ValidationError;

use super::config::{QuicConfig, QuicError};

/// Assumed until it is measured: the first retransmission comes after three times this.
pub(super) const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Handshakes in progress from which on newcomers first have to prove their address.
const HANDSHAKES_BEFORE_RETRY: usize = 128;

/// Handshakes in progress from which on newcomers are refused.
const MAX_HANDSHAKES: usize = 4096;

/// The limits of every connection.
pub(super) fn connection_limits(config: &QuicConfig) -> Result<Limits, QuicError> {
    limits(config).map_err(|_| QuicError::Config("a limit is outside of what QUIC can express"))
}

fn limits(config: &QuicConfig) -> Result<Limits, ValidationError> {
    Limits::new()
        .with_max_idle_timeout(config.idle_timeout)?
        .with_max_keep_alive_period(config.keep_alive)?
        .with_max_handshake_duration(config.handshake_timeout)?
        .with_initial_round_trip_time(INITIAL_RTT)?
        .with_data_window(config.connection_window_bytes.into())?
        .with_bidirectional_local_data_window(config.stream_window_bytes.into())?
        .with_bidirectional_remote_data_window(config.stream_window_bytes.into())?
        .with_max_send_buffer_size(config.send_buffer_bytes)?
        .with_max_open_remote_bidirectional_streams(config.max_streams.into())?
        // The peer's limit is the one that counts for streams of our own.
        .with_max_open_local_bidirectional_streams(u32::MAX.into())?
        .with_max_open_remote_unidirectional_streams(0)?
        .with_max_open_local_unidirectional_streams(0)
}

/// Keeps handshakes with forged source addresses from filling a listening socket.
pub(super) struct HandshakeLimiter(pub(super) Arc<HandshakeCounts>);

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
        match attempt.inflight_handshakes {
            0..HANDSHAKES_BEFORE_RETRY => Outcome::allow(),
            HANDSHAKES_BEFORE_RETRY..MAX_HANDSHAKES => {
                self.0.retried.fetch_add(1, Ordering::Relaxed);
                Outcome::retry()
            }
            MAX_HANDSHAKES.. => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                Outcome::close()
            }
        }
    }
}
