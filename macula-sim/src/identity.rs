//! Who the simulated nodes are: keys and addresses computed from seed and index, so that none is
//! kept.

use std::net::{Ipv4Addr, SocketAddr};

use macula_core::{Addresses, Contact, HostPort, NodeId, SecretKey};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::latency::mix;

/// The most nodes that addresses of 10.0.0.0/8 can tell apart.
pub(crate) const MAX_NODES: usize = 1 << 24;

/// The secret key of the node with this index.
pub(crate) fn secret_key(seed: u64, index: usize) -> SecretKey {
    let mut rng = StdRng::seed_from_u64(mix(seed ^ mix(index as u64)));
    let mut bytes = [0; SecretKey::LEN_BYTES];
    rng.fill_bytes(&mut bytes);
    SecretKey::from_bytes(&bytes)
}

/// The contact of the node with this index.
pub(crate) fn contact(node_id: NodeId, index: usize) -> Contact {
    let [_, a, b, c] = u32::try_from(index).unwrap_or(u32::MAX).to_be_bytes();
    let addr = SocketAddr::from((Ipv4Addr::new(10, a, b, c), PORT));
    Contact {
        node_id,
        addresses: Addresses::from_iter([addr]),
    }
}

/// The index of the node that listens there, if it is an address of ours.
pub(crate) fn index_at(host: &HostPort) -> Option<usize> {
    let [10, a, b, c] = host.host.parse::<Ipv4Addr>().ok()?.octets() else {
        return None;
    };
    (host.port == PORT).then(|| u32::from_be_bytes([0, a, b, c]) as usize)
}

const PORT: u16 = 4433;
