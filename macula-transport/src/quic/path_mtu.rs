//! How large the datagrams of a path may be.

use std::net::IpAddr;

use s2n_quic::provider::event::events::SocketAddress;
use s2n_quic::provider::mtu::{Builder, Config, Endpoint, PathInfo};

/// The largest datagrams of a socket, in bytes with their IP headers.
pub(super) const MAX_MTU: u16 = LOOPBACK_MTU;

/// What loopback is given: it carries far more, and every datagram costs the same.
const LOOPBACK_MTU: u16 = 9000;

/// Chooses by where the peer is.
///
/// A probe that finds out what a path carries (RFC 8899) costs a datagram of its size and an
/// acknowledgement, and a search between far bounds a dozen of both for every connection. So there
/// is none on loopback, and otherwise one for what Ethernet carries.
pub(super) struct PathMtu;

impl Endpoint for PathMtu {
    fn on_path(&mut self, path: &PathInfo<'_>, _of_socket: Config) -> Option<Config> {
        let builder = Config::builder();
        let builder = match is_loopback(&path.remote_address) {
            true => builder
                .with_max_mtu(LOOPBACK_MTU)
                .and_then(|builder| builder.with_initial_mtu(LOOPBACK_MTU)),
            false => Ok(builder),
        };
        builder.and_then(Builder::build).ok()
    }
}

pub(super) fn is_loopback(address: &SocketAddress<'_>) -> bool {
    match address {
        SocketAddress::IpV4 { ip, .. } => IpAddr::from(**ip).is_loopback(),
        SocketAddress::IpV6 { ip, .. } => IpAddr::from(**ip).is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use s2n_quic_core::inet;

    use super::*;

    /// What a path to a peer begins with, and what it grows to.
    fn sizes(peer: &str) -> (u16, u16) {
        let peer: SocketAddr = peer.parse().unwrap();
        let peer = inet::SocketAddress::from(peer);
        let path = PathInfo::new(&peer);
        let config = PathMtu.on_path(&path, Config::default()).unwrap();
        assert!(config.is_valid());
        (config.initial_mtu().into(), config.max_mtu().into())
    }

    #[test]
    fn loopback_has_long_datagrams_at_once() {
        for peer in ["127.0.0.1:4433", "127.66.6.6:1", "[::1]:4433"] {
            assert_eq!(sizes(peer), (LOOPBACK_MTU, LOOPBACK_MTU), "{peer}");
        }
    }

    #[test]
    fn other_paths_begin_with_what_all_carry_and_grow_to_what_ethernet_carries() {
        let others = [
            "192.0.2.1:4433",
            "10.0.0.1:4433",
            "[2001:db8::1]:4433",
            "0.0.0.0:0",
        ];
        for peer in others {
            let (initial, max) = sizes(peer);
            assert!(initial <= 1280, "{peer}: {initial}");
            assert_eq!(max, 1500, "{peer}");
        }
    }
}
