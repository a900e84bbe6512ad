//! A node and where to reach it.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Addresses, MAX_ADDRESSES, NodeId, ParseIdError};

/// A node id with the addresses it can be dialled at.
///
/// Its text form is `<node-id>@ip:port[,ip:port]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contact {
    /// Who must answer.
    pub node_id: NodeId,
    /// Where to dial, most preferred first.
    pub addresses: Addresses,
}

impl Contact {
    /// Brings a node id and its addresses together; see [`Addresses`] for what is kept.
    pub fn new(node_id: NodeId, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            node_id,
            addresses: addresses.into_iter().collect(),
        }
    }
}

/// Why a text is not a contact or a dial target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContactError {
    /// There is no `@` between node id and addresses.
    #[error("contact has no '@': expected <node-id>@host:port[,host:port]")]
    NoNodeId,
    /// The part before the `@` is not a node id.
    #[error("contact has a bad node id")]
    BadNodeId(#[source] ParseIdError),
    /// One of the addresses is not `host:port`, or its port is zero.
    #[error("contact has a bad address {0:?}: expected host:port with a port above zero")]
    BadAddress(String),
    /// More than [`MAX_ADDRESSES`] addresses.
    #[error("contact has {0} addresses, more than {MAX_ADDRESSES}")]
    TooManyAddresses(usize),
}

/// For generic code that takes texts, which may be wrong, and values, which may not.
impl From<Infallible> for ContactError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl FromStr for Contact {
    type Err = ContactError;

    fn from_str(text: &str) -> Result<Self, ContactError> {
        let (node_id, addresses) = text.split_once('@').ok_or(ContactError::NoNodeId)?;
        let node_id = node_id.parse().map_err(ContactError::BadNodeId)?;
        Ok(Self::new(
            node_id,
            parse_list(addresses, parse_socket_addr)?,
        ))
    }
}

/// Parses a comma-separated list of at most [`MAX_ADDRESSES`] items, each with `parse`.
pub(crate) fn parse_list<T>(
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, ContactError> {
    let count = text.split(',').count();
    if count > MAX_ADDRESSES {
        return Err(ContactError::TooManyAddresses(count));
    }
    text.split(',')
        .map(|item| parse(item).ok_or_else(|| ContactError::BadAddress(item.to_owned())))
        .collect()
}

fn parse_socket_addr(text: &str) -> Option<SocketAddr> {
    text.parse()
        .ok()
        .filter(|addr: &SocketAddr| addr.port() != 0)
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.node_id)?;
        for (i, addr) in self.addresses.iter().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            write!(f, "{separator}{addr}")?;
        }
        Ok(())
    }
}
