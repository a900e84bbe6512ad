//! Which contacts probably belong to one operator.

use std::net::IpAddr;

use macula_core::Contact;

/// The network that somebody who wants to be many gets all addresses of at once: an IPv4 /24 or
/// an IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subnet {
    V4([u8; 3]),
    V6([u8; 6]),
}

impl Subnet {
    /// The network of a contact's first address; `None` without one.
    pub(super) fn of(contact: &Contact) -> Option<Self> {
        let subnet = match contact.addresses.first()?.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
        };
        Some(subnet)
    }
}

#[cfg(test)]
mod tests {
    use macula_core::NodeId;

    use super::*;

    fn subnet(address: &str) -> Option<Subnet> {
        let address = address.parse().unwrap();
        Subnet::of(&Contact::new(NodeId::from_bytes([1; 32]), [address]))
    }

    #[test]
    fn hosts_of_one_network_share_it_and_their_neighbours_do_not() {
        assert_eq!(subnet("192.0.2.1:1"), subnet("192.0.2.255:2"));
        assert_ne!(subnet("192.0.2.1:1"), subnet("192.0.3.1:1"));
        assert_eq!(
            subnet("[2001:db8:1::1]:1"),
            subnet("[2001:db8:1:ffff::2]:2")
        );
        assert_ne!(subnet("[2001:db8:1::1]:1"), subnet("[2001:db8:2::1]:1"));
        assert_eq!(subnet("[::ffff:192.0.2.1]:1"), subnet("192.0.2.7:1"));
    }

    #[test]
    fn contact_without_an_address_is_in_none() {
        let nowhere = Contact::new(NodeId::from_bytes([1; 32]), []);
        assert_eq!(Subnet::of(&nowhere), None);
    }
}
