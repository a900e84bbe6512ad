//! Who the simulated nodes are: keys and addresses computed from seed and index, so that no key is
//! kept.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use macula_core::{Addresses, Contact, DialTarget, NodeId, SecretKey};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::latency::mix;

/// The most nodes that addresses of 10.0.0.0/8 can tell apart; half of them are kept for
/// contacts that do not exist.
pub(crate) const MAX_NODES: usize = 1 << 23;

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

/// A contact of nobody.
pub(crate) fn stranger(rng: &mut StdRng) -> Contact {
    let node_id = NodeId::from_bytes(rng.random());
    contact(node_id, rng.random_range(MAX_NODES..2 * MAX_NODES))
}

/// The index of the node that listens at the contact's address, if it is an address of ours.
pub(crate) fn index_of(contact: &Contact) -> Option<usize> {
    contact.addresses.iter().find_map(|addr| match addr.ip() {
        IpAddr::V4(ip) => index_at(ip, addr.port()),
        IpAddr::V6(_) => None,
    })
}

/// The index of the node that is to be dialled.
pub(crate) fn index_of_target(target: &DialTarget) -> Option<usize> {
    let hosts = match target {
        DialTarget::Pinned { hosts, .. } => hosts.as_slice(),
        DialTarget::FirstUse { host } => std::slice::from_ref(host),
    };
    hosts
        .iter()
        .find_map(|host| index_at(host.host.parse().ok()?, host.port))
}

fn index_at(ip: Ipv4Addr, port: u16) -> Option<usize> {
    let [10, a, b, c] = ip.octets() else {
        return None;
    };
    (port == PORT).then(|| u32::from_be_bytes([0, a, b, c]) as usize)
}

const PORT: u16 = 4433;
