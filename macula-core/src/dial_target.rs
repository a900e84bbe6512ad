//! What a user gives to say whom to dial: a contact whose hosts may be names, its id optional.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::contact::parse_list;
use crate::{Contact, ContactError, NodeId};

/// A host, by IP address or DNS name, and a port above zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// An IP address, IPv6 without brackets, or a DNS name, not yet resolved.
    pub host: String,
    /// The UDP port.
    pub port: u16,
}

/// Whom to dial, and whether the identity that answers is known in advance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialTarget {
    /// The node with this id, at any of these hosts; anybody else who answers is refused.
    Pinned {
        /// Who must answer.
        node_id: NodeId,
        /// Where to dial, most preferred first.
        hosts: Vec<HostPort>,
    },
    /// Whoever answers at this host: the id is learned from the handshake. For bootstrap only.
    FirstUse {
        /// Where to dial.
        host: HostPort,
    },
}

/// Parses `<node-id>@host:port[,host:port]` or `host:port`.
impl FromStr for DialTarget {
    type Err = ContactError;

    fn from_str(text: &str) -> Result<Self, ContactError> {
        match text.split_once('@') {
            Some((node_id, hosts)) => Ok(Self::Pinned {
                node_id: node_id.parse().map_err(ContactError::BadNodeId)?,
                hosts: parse_list(hosts, parse_host_port)?,
            }),
            None => parse_host_port(text)
                .map(|host| Self::FirstUse { host })
                .ok_or_else(|| ContactError::BadAddress(text.to_owned())),
        }
    }
}

impl TryFrom<&str> for DialTarget {
    type Error = ContactError;

    fn try_from(text: &str) -> Result<Self, ContactError> {
        text.parse()
    }
}

impl TryFrom<String> for DialTarget {
    type Error = ContactError;

    fn try_from(text: String) -> Result<Self, ContactError> {
        text.parse()
    }
}

impl From<&Contact> for DialTarget {
    fn from(contact: &Contact) -> Self {
        let hosts = contact
            .addresses
            .iter()
            .map(|addr| HostPort {
                host: addr.ip().to_string(),
                port: addr.port(),
            })
            .collect();
        Self::Pinned {
            node_id: contact.node_id,
            hosts,
        }
    }
}

impl From<Contact> for DialTarget {
    fn from(contact: Contact) -> Self {
        Self::from(&contact)
    }
}

fn parse_host_port(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    Some(HostPort {
        host: parse_host(host)?,
        port: parse_port(port)?,
    })
}

/// An IPv6 address only in brackets: without them its end and the port cannot be told apart.
fn parse_host(text: &str) -> Option<String> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(ip) => {
            let ip: Ipv6Addr = ip.parse().ok()?;
            Some(ip.to_canonical().to_string())
        }
        None if text.parse::<Ipv4Addr>().is_ok() || is_dns_name(text) => Some(text.to_owned()),
        None => None,
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_digits && *port != 0)
}

/// The letters-digits-hyphens rule and the lengths of RFC 1123 §2.1, with `_` for the names that
/// container networks give. A name never ends in a number: that is a mistyped IPv4 address.
fn is_dns_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let ends_in_number = host
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    host.len() <= 253 && !ends_in_number && host.split('.').all(is_label)
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for DialTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstUse { host } => host.fmt(f),
            Self::Pinned { node_id, hosts } => {
                write!(f, "{node_id}@")?;
                for (i, host) in hosts.iter().enumerate() {
                    let separator = if i == 0 { "" } else { "," };
                    write!(f, "{separator}{host}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
