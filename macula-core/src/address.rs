//! Socket addresses a node can be reached at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::BoundedVec;

/// The most addresses one node has.
pub const MAX_ADDRESSES: usize = 8;

/// At most [`MAX_ADDRESSES`] distinct socket addresses, most preferred first.
///
/// IPv4-mapped IPv6 addresses are normalised to IPv4, and IPv6 scopes and flow labels, which mean
/// nothing to another host, are dropped. Decoding refuses a list that is not in this form. The list may be empty: such a node can be
/// reached only over a connection that it has opened itself. Clones share the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Addresses(Arc<[SocketAddr]>);

impl Addresses {
    /// Whether every address can be dialled: the specific IP of a single host, and a port.
    pub fn are_dialable(&self) -> bool {
        self.iter()
            .all(|addr| is_single_host(addr.ip()) && addr.port() != 0)
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
        Self(distinct.into())
    }
}

impl Deref for Addresses {
    type Target = [SocketAddr];

    fn deref(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decoded = BoundedVec::<SocketAddr, MAX_ADDRESSES>::deserialize(deserializer)?;
        if is_normalised(&decoded) {
            Ok(Self(decoded.into_vec().into()))
        } else {
            Err(D::Error::custom("addresses are repeated or not normalised"))
        }
    }
}

fn is_normalised(addrs: &[SocketAddr]) -> bool {
    addrs
        .iter()
        .enumerate()
        .all(|(i, addr)| *addr == normalised(*addr) && !addrs[..i].contains(addr))
}

fn is_single_host(ip: IpAddr) -> bool {
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

fn normalised(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn addresses(texts: &[&str]) -> Addresses {
        addrs(texts).into_iter().collect()
    }

    fn decode(texts: &[&str]) -> Result<Addresses, postcard::Error> {
        postcard::from_bytes(&postcard::to_stdvec(&addrs(texts)).unwrap())
    }

    #[test]
    fn mapped_repeated_and_scoped_addresses_are_normalised() {
        let built = addresses(&[
            "[::ffff:10.0.0.1]:1",
            "10.0.0.1:1",
            "[fe80::1%3]:2",
            "[fe80::1]:2",
            "10.0.0.1:2",
        ]);
        assert_eq!(*built, addrs(&["10.0.0.1:1", "[fe80::1]:2", "10.0.0.1:2"]));
    }

    #[test]
    fn the_first_eight_are_kept_in_order() {
        let many = (1..=20).map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let kept: Addresses = many.clone().flat_map(|addr| [addr, addr]).collect();
        assert_eq!(*kept, *many.take(MAX_ADDRESSES).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_built_decodes_to_itself() {
        let built = addresses(&["10.0.0.1:1", "[2001:db8::1]:2", "[fe80::1%3]:3"]);
        let bytes = postcard::to_stdvec(&built).unwrap();
        assert_eq!(postcard::from_bytes::<Addresses>(&bytes).unwrap(), built);
        let json = serde_json::to_string(&built).unwrap();
        assert_eq!(serde_json::from_str::<Addresses>(&json).unwrap(), built);
    }

    #[test]
    fn a_list_in_another_form_does_not_decode() {
        assert!(decode(&["10.0.0.1:1", "10.0.0.2:1"]).is_ok());
        assert!(decode(&["10.0.0.1:1", "10.0.0.1:1"]).is_err());
        assert!(decode(&["[::ffff:10.0.0.1]:1"]).is_err());
        assert!(serde_json::from_str::<Addresses>(r#"["[fe80::1%3]:2"]"#).is_err());
        let nine: Vec<String> = (1..=9).map(|port| format!("10.0.0.1:{port}")).collect();
        assert!(decode(&nine.iter().map(String::as_str).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn clones_share_the_list() {
        let built = addresses(&["10.0.0.1:1", "10.0.0.2:2"]);
        let mut clone = None;
        let used = allocation_counter::measure(|| clone = Some(built.clone()));
        assert_eq!(used.count_total, 0);
        assert_eq!(clone, Some(built));
    }

    #[test]
    fn only_single_hosts_with_a_port_are_dialable() {
        assert!(addresses(&["10.0.0.1:1", "[::1]:2"]).are_dialable());
        assert!(Addresses::default().are_dialable());
        for bad in [
            "0.0.0.0:1",
            "[::]:1",
            "[::ffff:0.0.0.0]:1",
            "10.0.0.1:0",
            "255.255.255.255:1",
            "224.0.0.1:1",
            "[ff02::1]:1",
        ] {
            assert!(!addresses(&["10.0.0.1:1", bad]).are_dialable(), "{bad}");
        }
    }
}
