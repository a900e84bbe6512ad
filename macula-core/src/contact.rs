//! A node and where to reach it.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Addresses, MAX_ADDRESSES, NodeId, ParseIdError};

/// A node id with the addresses it can be dialled at.
///
/// Its text form is `<node-id>@ip:port[,ip:port]`, IPv6 in brackets. A contact without addresses
/// is shown as `<node-id>@`, which is no contact to dial and does not parse.
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
    /// One of the addresses is not `host:port`, has an IPv6 scope, or its port is zero.
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
    let addr: SocketAddr = text.parse().ok()?;
    // Dropping the scope that somebody wrote would dial somewhere else.
    let has_scope = matches!(addr, SocketAddr::V6(addr) if addr.scope_id() != 0);
    (addr.port() != 0 && !has_scope).then_some(addr)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> NodeId {
        NodeId::from_bytes([9; 32])
    }

    fn parse(addresses: &str) -> Result<Contact, ContactError> {
        format!("{}@{addresses}", id()).parse()
    }

    fn bad_address(item: &str) -> Result<Contact, ContactError> {
        Err(ContactError::BadAddress(item.to_owned()))
    }

    #[test]
    fn text_form_round_trips() {
        for addresses in ["10.0.0.7:9443", "[2001:db8::1]:1,10.0.0.7:65535"] {
            let contact = parse(addresses).unwrap();
            assert_eq!(contact.node_id, id());
            assert_eq!(contact.to_string(), format!("{}@{addresses}", id()));
        }
    }

    #[test]
    fn mapped_and_repeated_addresses_come_out_normalised() {
        let contact = parse("[::ffff:10.0.0.7]:1,10.0.0.7:1").unwrap();
        assert_eq!(contact.to_string(), format!("{}@10.0.0.7:1", id()));
    }

    #[test]
    fn a_bad_address_is_refused_and_named() {
        for item in [
            "10.0.0.7:0",
            "[::1]:0",
            "10.0.0.7",
            "10.0.0.7:65536",
            "10.0.0.7:",
            ":1",
            "::1:1",
            "[::1%1]:1",
            "host:1",
            " 10.0.0.7:1",
            "10.0.0.256:1",
        ] {
            assert_eq!(parse(item), bad_address(item));
            assert_eq!(parse(&format!("10.0.0.1:1,{item}")), bad_address(item));
        }
    }

    #[test]
    fn an_empty_address_is_refused() {
        assert_eq!(parse(""), bad_address(""));
        assert_eq!(parse("10.0.0.1:1,"), bad_address(""));
        assert_eq!(Contact::new(id(), []).to_string(), format!("{}@", id()));
    }

    #[test]
    fn too_many_addresses_are_refused_rather_than_cut() {
        let list = |count: u16| {
            let items: Vec<String> = (1..=count).map(|port| format!("10.0.0.1:{port}")).collect();
            items.join(",")
        };
        assert_eq!(parse(&list(8)).unwrap().addresses.len(), MAX_ADDRESSES);
        assert_eq!(parse(&list(9)), Err(ContactError::TooManyAddresses(9)));
    }

    #[test]
    fn the_node_id_is_needed_and_checked() {
        let no_id = "10.0.0.7:1".parse::<Contact>();
        assert_eq!(no_id, Err(ContactError::NoNodeId));
        let bad_id = "node7@10.0.0.7:1".parse::<Contact>();
        assert_eq!(
            bad_id,
            Err(ContactError::BadNodeId(ParseIdError::Length { found: 5 }))
        );
    }
}
