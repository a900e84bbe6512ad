//! Sockets of a host in a network that `turmoil` simulates.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use macula_core::NodeId;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use s2n_quic::provider::random::{self, Generator};
use tokio::runtime::Handle;
use turmoil::net::UdpSocket;

mod clock;
mod io;

use io::SimulatedIo;

const CONTEXT: &str = "macula 2026 simulation: randomness of a socket";

/// The host on which a transport is bound.
///
/// Which host a packet comes from is decided by the runtime that runs: whoever drops a socket may
/// be on another one, so everything that sends is spawned here.
#[derive(Clone)]
pub(in crate::quic) struct SimulatedHost {
    runtime: Handle,
    seed: [u8; 32],
}

impl SimulatedHost {
    /// The host whose runtime is the current one. The same seed is another one on each node: two
    /// diallers that drew the same connection ids would be one to whom they dial.
    pub(super) fn new(node_id: &NodeId, seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&seed.to_be_bytes());
        hasher.update(node_id.as_bytes());
        Self {
            runtime: Handle::current(),
            seed: *hasher.finalize().as_bytes(),
        }
    }

    /// Binds a socket, with randomness of its own.
    pub(super) async fn open(&self, asked: SocketAddr, label: &str) -> std::io::Result<Socket> {
        let socket = UdpSocket::bind(bindable(asked)).await?;
        let seed = blake3::keyed_hash(&self.seed, label.as_bytes());
        let address = SocketAddr::new(asked.ip(), socket.local_addr()?.port());
        Ok(Socket {
            io: SimulatedIo { socket, address },
            random: SeededRandom(StdRng::from_seed(*seed.as_bytes())),
        })
    }

    pub(super) fn wake(&self, address: SocketAddr) {
        let ours = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
        self.runtime.spawn(async move {
            if let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await {
                // If it cannot be sent, the event loop ends with the next packet or timer.
                let _ = socket.send_to(&[0], ours).await;
            }
        });
    }

    /// Whether the port is free; one on a host that has crashed is.
    pub(super) async fn is_free(&self, address: SocketAddr) -> bool {
        let binding = UdpSocket::bind(bindable(address));
        let bound = self.runtime.spawn(async move { binding.await.is_ok() });
        bound.await.unwrap_or(true)
    }
}

/// A bound socket.
pub(super) struct Socket {
    pub(super) io: SimulatedIo,
    pub(super) random: SeededRandom,
}

/// A simulated host has one address, which no socket can be bound to.
fn bindable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_loopback() {
        address
    } else {
        (Ipv4Addr::UNSPECIFIED, address.port()).into()
    }
}

/// What QUIC draws on one socket, the same in every run.
pub(super) struct SeededRandom(StdRng);

impl Generator for SeededRandom {
    fn public_random_fill(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }

    fn private_random_fill(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }
}

impl random::Provider for SeededRandom {
    type Generator = Self;
    type Error = Infallible;

    fn start(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}
