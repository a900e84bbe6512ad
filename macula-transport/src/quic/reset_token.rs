//! Stateless reset tokens that survive a restart (RFC 9000 §10.3).
//!
//! A node that lost its memory can then tell its former peers so with one packet, and their pending
//! requests fail within a round trip instead of at the idle timeout.

use std::net::SocketAddr;

use macula_core::SecretKey;
use s2n_quic::provider::stateless_reset_token::Generator;
use s2n_quic_core::stateless_reset::token::{LEN, Token};

const CONTEXT: &str = "macula 2026 stateless reset: listening socket";

/// Derives the tokens of one listening socket from the node's secret key.
pub(super) struct ResetTokens {
    key: [u8; 32],
}

impl ResetTokens {
    /// `index` and `address` are the socket's place in the configuration. They are mixed in because
    /// sockets that shared a key could be played against each other: a packet of a connection of
    /// one, sent to the other, would be answered with the token that kills it.
    pub(super) fn new(secret_key: &SecretKey, index: usize, address: SocketAddr) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&secret_key.to_bytes());
        hasher.update(format!("{index} {address}").as_bytes());
        Self {
            key: *hasher.finalize().as_bytes(),
        }
    }

    fn token(&self, connection_id: &[u8]) -> [u8; LEN] {
        let mut token = [0; LEN];
        blake3::Hasher::new_keyed(&self.key)
            .update(connection_id)
            .finalize_xof()
            .fill(&mut token);
        token
    }
}

impl Generator for ResetTokens {
    fn generate(&mut self, local_connection_id: &[u8]) -> Token {
        self.token(local_connection_id).into()
    }
}

/// What s2n-quic takes a generator from.
impl s2n_quic::provider::stateless_reset_token::Provider for ResetTokens {
    type Generator = Self;
    type Error = std::convert::Infallible;

    fn start(self) -> Result<Self, Self::Error> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn tokens(secret: u8, index: usize, port: u16) -> [u8; LEN] {
        let secret_key = SecretKey::from_bytes(&[secret; 32]);
        ResetTokens::new(&secret_key, index, (Ipv4Addr::LOCALHOST, port).into())
            .token(b"connection")
    }

    #[test]
    fn a_restarted_node_makes_the_same_token() {
        assert_eq!(tokens(1, 0, 4433), tokens(1, 0, 4433));
    }

    #[test]
    fn another_node_or_socket_makes_another_token() {
        assert_ne!(tokens(1, 0, 4433), tokens(2, 0, 4433));
        assert_ne!(tokens(1, 0, 4433), tokens(1, 1, 4433));
        assert_ne!(tokens(1, 0, 4433), tokens(1, 0, 4434));
    }
}
