//! What s2n-quic's errors mean to the layers above.

use std::net::SocketAddr;
use std::time::Duration;

use s2n_quic::application;
use s2n_quic::connection::Error as QuicConnectionError;
use s2n_quic::stream::Error as QuicStreamError;

use super::tls::Pin;
use crate::{CloseCode, ConnectionError, DialError, StreamError};

/// `access_denied` (RFC 8446 §6.2) as a QUIC error (RFC 9001 §4.8): how our own verifier says that
/// another identity answered than the one that was dialled.
const WRONG_IDENTITY: u64 = 0x131;

/// `CONNECTION_REFUSED` (RFC 9000 §20.1).
const CONNECTION_REFUSED: u64 = 0x2;

/// Why an established connection ended.
pub(super) fn connection_error(error: QuicConnectionError) -> ConnectionError {
    use QuicConnectionError as Quic;
    match error {
        Quic::Closed { initiator, .. } if initiator.is_remote() => {
            ConnectionError::ClosedByPeer(CloseCode::Done)
        }
        Quic::Closed { .. } => ConnectionError::Closed(CloseCode::Done),
        Quic::Application {
            error, initiator, ..
        } if initiator.is_remote() => ConnectionError::ClosedByPeer(close_code(error)),
        Quic::Application { error, .. } => ConnectionError::Closed(close_code(error)),
        Quic::IdleTimerExpired { .. } | Quic::MaxHandshakeDurationExceeded { .. } => {
            ConnectionError::TimedOut
        }
        _ => ConnectionError::Lost,
    }
}

/// Why a stream ended; the connection's own reason is filled in by the caller.
pub(super) fn stream_error(error: QuicStreamError) -> StreamError {
    match error {
        QuicStreamError::StreamReset { error, .. } => StreamError::Reset(close_code(error)),
        QuicStreamError::ConnectionError { error, .. } => connection_error(error).into(),
        _ => StreamError::Closed,
    }
}

/// What was dialled, for the error that says why it failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialled {
    pub(super) pin: Pin,
    pub(super) address: SocketAddr,
    pub(super) handshake_timeout: Duration,
}

/// Why a handshake failed.
pub(super) fn dial_error(error: QuicConnectionError, dialled: &Dialled) -> DialError {
    use QuicConnectionError as Quic;
    match error {
        Quic::Transport {
            code, initiator, ..
        } => match (code.as_u64(), initiator.is_local(), dialled.pin) {
            (WRONG_IDENTITY, true, Pin::Node(expected)) => DialError::WrongIdentity {
                expected,
                address: dialled.address,
            },
            (CONNECTION_REFUSED, false, _) => DialError::Refused(CloseCode::Overloaded),
            _ => DialError::Malformed,
        },
        Quic::Application { error, .. } => DialError::Refused(close_code(error)),
        Quic::Closed { .. } => DialError::Refused(CloseCode::Done),
        Quic::MaxHandshakeDurationExceeded { .. } | Quic::IdleTimerExpired { .. } => {
            DialError::Timeout(dialled.handshake_timeout)
        }
        Quic::EndpointClosing { .. } | Quic::Unspecified { .. } => DialError::Closed,
        _ => DialError::Unreachable,
    }
}

/// The code as s2n-quic sends it.
pub(super) fn application_error(code: CloseCode) -> application::Error {
    // Every 32-bit number is a QUIC error code.
    application::Error::new(code.to_wire().into()).unwrap_or(application::Error::UNKNOWN)
}

/// The code that a peer sent; numbers beyond ours cannot come from a node.
pub(super) fn close_code(error: application::Error) -> CloseCode {
    u32::try_from(*error).map_or(CloseCode::Other(u32::MAX), CloseCode::from_wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_survive_the_way_through_quic() {
        for number in (0..20).chain([u32::MAX]) {
            let code = CloseCode::from_wire(number);
            assert_eq!(close_code(application_error(code)), code);
        }
    }

    #[test]
    fn an_error_code_beyond_32_bits_is_an_unknown_one() -> Result<(), Box<dyn std::error::Error>> {
        let error = application::Error::new(1 << 40)?;
        assert_eq!(close_code(error), CloseCode::Other(u32::MAX));
        Ok(())
    }
}
