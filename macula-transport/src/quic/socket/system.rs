//! Sockets of the operating system.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

pub(super) use s2n_quic::provider::io::tokio::Provider as Io;

use crate::quic::path_mtu::MAX_MTU;

/// What s2n-quic opens a socket with.
pub(super) fn io(address: SocketAddr) -> io::Result<Io> {
    Io::builder()
        .with_receive_address(address)?
        .with_max_mtu(MAX_MTU)?
        .with_recv_buffer_size(SOCKET_BUFFER_BYTES)?
        .with_send_buffer_size(SOCKET_BUFFER_BYTES)?
        // Otherwise `[::]` would take the IPv4 port too, and IPv4 peers would look like IPv6.
        .with_only_v6(address.is_ipv6())?
        .build()
}

/// What the system is asked to hold of a socket's datagrams; it may give less. With its usual 200 KiB
/// one peer's burst crowds out the packets of all others.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

pub(super) fn wake(address: SocketAddr) {
    let Ok(socket) = UdpSocket::bind(any_port(address)) else {
        return;
    };
    // If it cannot be sent, the event loop ends with the next packet or timer that wakes it.
    let _ = socket.set_nonblocking(true);
    let _ = socket.send_to(&[0], reachable(address));
}

pub(super) fn is_free(address: SocketAddr) -> bool {
    // An IPv6 socket of the standard library also asks for the IPv4 port, which may be another's.
    address.ip().is_ipv6() && address.ip().is_unspecified() || UdpSocket::bind(address).is_ok()
}

/// Any port of the address's family.
fn any_port(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Where a socket of this host that is bound to `address` is reached from this host.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}
