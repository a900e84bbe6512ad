//! Whom a dial expects, in the form of the TLS server name that carries it to the verifier.

use macula_core::NodeId;

/// The identity that has to answer.
///
/// The TLS library hands the verifier nothing of the dial but the server name, so this travels as
/// one. It never leaves the process: the name is not sent to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::quic) enum Pin {
    /// This node and nobody else.
    Node(NodeId),
    /// Whoever answers.
    FirstUse,
}

impl Pin {
    /// The server name, always a valid DNS name.
    ///
    /// A node id comes from the network, and as the whole name it could be all digits, which is no
    /// DNS name and which s2n-quic answers with a panic. The letter in front rules that out.
    pub(in crate::quic) fn to_server_name(self) -> String {
        match self {
            Self::Node(node_id) => format!("{NODE_PREFIX}{node_id}"),
            Self::FirstUse => FIRST_USE.to_owned(),
        }
    }

    /// Undoes [`Self::to_server_name`].
    pub(super) fn from_server_name(name: &str) -> Option<Self> {
        if name == FIRST_USE {
            return Some(Self::FirstUse);
        }
        let node_id = name.strip_prefix(NODE_PREFIX)?.parse().ok()?;
        Some(Self::Node(node_id))
    }

    /// Whether this identity may answer.
    pub(in crate::quic) fn permits(self, node_id: NodeId) -> bool {
        self == Self::FirstUse || self == Self::Node(node_id)
    }
}

const FIRST_USE: &str = "first-use";
const NODE_PREFIX: char = 'n';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::ServerName;

    use super::*;

    proptest! {
        #[test]
        fn every_node_id_makes_a_valid_server_name(bytes: [u8; 32]) {
            let pin = Pin::Node(NodeId::from_bytes(bytes));
            let name = pin.to_server_name();
            prop_assert!(ServerName::try_from(name.as_str()).is_ok());
            prop_assert_eq!(Pin::from_server_name(&name), Some(pin));
        }
    }

    #[test]
    fn a_node_id_that_is_all_digits_makes_a_valid_server_name()
    -> Result<(), Box<dyn std::error::Error>> {
        let digits = format!("{}q", "2".repeat(51));
        let node_id: NodeId = digits.parse()?;
        let name = Pin::Node(node_id).to_server_name();
        ServerName::try_from(name)?;
        Ok(())
    }

    #[test]
    fn first_use_permits_everybody_and_a_pin_only_its_node() {
        let (a, b) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        assert!(Pin::FirstUse.permits(a));
        assert!(Pin::Node(a).permits(a));
        assert!(!Pin::Node(a).permits(b));
        assert_eq!(Pin::from_server_name("first-use"), Some(Pin::FirstUse));
        assert_eq!(Pin::from_server_name("example.org"), None);
    }
}
