//! How s2n-quic sends and receives on a simulated socket.
//!
//! s2n-quic has a provider of its own for `turmoil`, but it keeps the thread busy for ever, with the
//! virtual clock standing still, once a socket has received a thousand packets and its ring of
//! buffers is used up just when nothing more is there to be read (s2n-quic-platform 0.91,
//! `io/turmoil.rs`: `poll_producer` is cleared only after the next packet). Here the event loop
//! reads and writes the socket itself, without rings.

use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use s2n_quic::provider::io::Provider;
use s2n_quic_core::endpoint::Endpoint;
use s2n_quic_core::event::EndpointPublisher;
use s2n_quic_core::inet::{SocketAddress, datagram};
use s2n_quic_core::io::event_loop::{EventLoop, Stats};
use s2n_quic_core::io::{rx, tx};
use s2n_quic_core::path::{LocalAddress, RemoteAddress, Tuple, mtu};
use turmoil::net::UdpSocket;

use super::clock::VirtualClock;

/// A bound socket, for s2n-quic to start an endpoint on.
pub(in crate::quic) struct SimulatedIo {
    pub(super) socket: UdpSocket,
    /// At which other hosts reach it.
    pub(super) address: SocketAddr,
}

impl Provider for SimulatedIo {
    type PathHandle = Tuple;
    type Error = io::Error;

    fn start<E: Endpoint<PathHandle = Tuple>>(self, mut endpoint: E) -> io::Result<SocketAddress> {
        let mtu = mtu::Config::builder().build().map_err(io::Error::other)?;
        endpoint.set_mtu_config(mtu);
        let buffer = vec![0; u16::from(mtu.max_mtu()).into()];
        let socket = Arc::new(self.socket);
        let address = SocketAddress::from(self.address);
        let event_loop = EventLoop {
            endpoint,
            clock: VirtualClock::start(),
            rx: Incoming {
                socket: Arc::clone(&socket),
                local_address: address.into(),
                buffer: buffer.clone(),
            },
            tx: Outgoing { socket, buffer },
            cooldown: Default::default(),
            stats: NoStats,
        };
        tokio::spawn(event_loop.start(address));
        Ok(address)
    }
}

/// Packets that have arrived.
struct Incoming {
    socket: Arc<UdpSocket>,
    local_address: LocalAddress,
    buffer: Vec<u8>,
}

impl rx::Rx for Incoming {
    type PathHandle = Tuple;
    type Queue = Self;
    type Error = Infallible;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The socket remembers who waits, not the future.
        pin!(self.socket.readable()).poll(context).map(|_| Ok(()))
    }

    fn queue<F: FnOnce(&mut Self)>(&mut self, with: F) {
        with(self);
    }

    fn handle_error<E: EndpointPublisher>(self, error: Infallible, _: &mut E) {
        match error {}
    }
}

impl rx::Queue for Incoming {
    type Handle = Tuple;

    fn for_each<F: FnMut(datagram::Header<Tuple>, &mut [u8])>(&mut self, mut on_packet: F) {
        // Bounded by the capacity of the socket: nothing arrives meanwhile.
        while let Ok((len, from)) = self.socket.try_recv_from(&mut self.buffer) {
            let path = Tuple {
                remote_address: RemoteAddress::from(SocketAddress::from(from)),
                local_address: self.local_address,
            };
            let ecn = Default::default();
            on_packet(datagram::Header { path, ecn }, &mut self.buffer[..len]);
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// Packets that are sent as soon as they are written.
struct Outgoing {
    socket: Arc<UdpSocket>,
    buffer: Vec<u8>,
}

impl tx::Tx for Outgoing {
    type PathHandle = Tuple;
    type Queue = Self;
    type Error = Infallible;

    /// There is always room, so nobody ever waits for it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn queue<F: FnOnce(&mut Self)>(&mut self, with: F) {
        with(self);
    }

    fn handle_error<E: EndpointPublisher>(self, error: Infallible, _: &mut E) {
        match error {}
    }
}

impl tx::Queue for Outgoing {
    type Handle = Tuple;

    fn push<M: tx::Message<Handle = Tuple>>(
        &mut self,
        mut message: M,
    ) -> Result<tx::Outcome, tx::Error> {
        let len = message.write_payload(tx::PayloadBuffer::new(&mut self.buffer), 0)?;
        let to = SocketAddr::from(message.path_handle().remote_address.0);
        // A packet to a host that does not exist is lost like any other.
        let _ = self.socket.try_send_to(&self.buffer[..len], to);
        Ok(tx::Outcome { len, index: 0 })
    }

    fn capacity(&self) -> usize {
        usize::MAX
    }
}

struct NoStats;

impl Stats for NoStats {
    fn publish<P: EndpointPublisher>(&mut self, _: &mut P) {}
}
