//! Socket addresses a node can be reached at.

use std::net::SocketAddr;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::codec::BoundedVec;

/// The most addresses one node has.
pub const MAX_ADDRESSES: usize = 8;

/// At most [`MAX_ADDRESSES`] distinct socket addresses, most preferred first.
///
/// IPv4-mapped IPv6 addresses are normalised to IPv4. The list may be empty: such a node can be
/// reached only over a connection that it has opened itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Addresses(BoundedVec<SocketAddr, MAX_ADDRESSES>);

impl Addresses {
    /// Whether every address can be dialled: a specific IP and a port.
    pub fn are_dialable(&self) -> bool {
        self.iter()
            .all(|addr| !addr.ip().is_unspecified() && addr.port() != 0)
    }
}

/// Takes the first [`MAX_ADDRESSES`] distinct addresses.
impl FromIterator<SocketAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(addrs: I) -> Self {
        let mut distinct = Vec::new();
        for addr in addrs.into_iter().map(normalised) {
            if !distinct.contains(&addr) {
                distinct.push(addr);
            }
            if distinct.len() == MAX_ADDRESSES {
                break;
            }
        }
        Self(BoundedVec::truncating(distinct))
    }
}

impl Deref for Addresses {
    type Target = [SocketAddr];

    fn deref(&self) -> &[SocketAddr] {
        &self.0
    }
}

fn normalised(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
