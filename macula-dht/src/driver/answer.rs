//! What came of a request to a peer.

use bytes::Bytes;
use macula_transport::{DialError, Refusal, RequestError, RequestFailure};

use super::shared::Shared;
use crate::message::Response;
use crate::message::wire::UnverifiedResponse;

/// What the machine is told.
pub(super) enum Answer {
    /// The peer answered, or at least lives.
    Response(Response),
    /// It did not answer, or nothing that can be read.
    None,
    /// It was never asked.
    Unsent,
}

impl Answer {
    /// Verifies what came back.
    pub(super) async fn of(shared: &Shared, answered: Result<Bytes, RequestError>) -> Self {
        match answered.map_err(|error| error.failure) {
            Ok(body) => Self::read(shared, &body).await,
            // It lives, and has said so.
            Err(RequestFailure::Refused(Refusal::Overloaded)) => Self::Response(Response::Refused),
            Err(RequestFailure::Dial(error)) if !says_something(&error) => Self::Unsent,
            Err(RequestFailure::ShuttingDown) => Self::Unsent,
            Err(_) => Self::None,
        }
    }

    async fn read(shared: &Shared, body: &[u8]) -> Self {
        let Ok(unverified) = UnverifiedResponse::decode(body) else {
            shared.count_malformed();
            return Self::None;
        };
        let Some(inbound) = shared.verifier.response(unverified).await else {
            return Self::None;
        };
        shared.count_refused(inbound.refused);
        Self::Response(inbound.response)
    }
}

/// Whether the end of a dial says something of the peer, rather than of this node.
fn says_something(error: &DialError) -> bool {
    !matches!(
        error,
        DialError::Busy
            | DialError::PoolFull
            | DialError::BackingOff(_)
            | DialError::NoAddress
            | DialError::Closed
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn shortage_of_this_node_says_nothing_of_the_peer() {
        let wait = Duration::from_secs(1);
        for own in [
            DialError::Busy,
            DialError::PoolFull,
            DialError::BackingOff(wait),
        ] {
            assert!(!says_something(&own), "{own}");
        }
        for of_peer in [DialError::Timeout(wait), DialError::Malformed] {
            assert!(says_something(&of_peer), "{of_peer}");
        }
    }
}
