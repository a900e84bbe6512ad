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

fn is_loopback(address: &SocketAddress<'_>) -> bool {
    match address {
        SocketAddress::IpV4 { ip, .. } => IpAddr::from(**ip).is_loopback(),
        SocketAddress::IpV6 { ip, .. } => IpAddr::from(**ip).is_loopback(),
        _ => false,
    }
}
