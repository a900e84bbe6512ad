use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

fn id() -> NodeId {
    NodeId::from_bytes([9; 32])
}

fn parse(text: &str) -> Result<DialTarget, ContactError> {
    text.parse()
}

fn host(host: &str, port: u16) -> HostPort {
    HostPort {
        host: host.to_owned(),
        port,
    }
}

fn first_use(name: &str, port: u16) -> DialTarget {
    DialTarget::FirstUse {
        host: host(name, port),
    }
}

#[test]
fn a_host_without_an_id_is_trusted_on_first_use() {
    for (text, expected) in [
        ("10.0.0.7:9443", first_use("10.0.0.7", 9443)),
        ("node.example.com:1", first_use("node.example.com", 1)),
        ("localhost:65535", first_use("localhost", 65535)),
        ("my_node-1:1", first_use("my_node-1", 1)),
        ("[2001:db8::1]:1", first_use("2001:db8::1", 1)),
    ] {
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn an_id_pins_all_the_hosts_after_it() {
    let text = format!("{}@10.0.0.7:1,[::1]:2,node.example.com:3", id());
    let expected = DialTarget::Pinned {
        node_id: id(),
        hosts: vec![
            host("10.0.0.7", 1),
            host("::1", 2),
            host("node.example.com", 3),
        ],
    };
    assert_eq!(parse(&text), Ok(expected));
    assert_eq!(parse(&text).unwrap().to_string(), text);
}

#[test]
fn mapped_addresses_become_ipv4() {
    assert_eq!(parse("[::ffff:10.0.0.7]:1"), Ok(first_use("10.0.0.7", 1)));
}

#[test]
fn an_unclear_host_or_port_is_refused_and_named() {
    let overlong_label = format!("{}.example:1", "a".repeat(64));
    let overlong_name = format!("{}com:1", "a.".repeat(126));
    for text in [
        "",
        ":",
        ":1",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "host:+80",
        "host:-1",
        "host: 80",
        "host:80 ",
        "::1:80",
        "fe80::1:443",
        "[::1]",
        "[::1:80",
        "::1]:80",
        "[10.0.0.7]:80",
        "[host]:80",
        "[fe80::1%eth0]:80",
        "10.0.0.256:80",
        "10.0.7:80",
        "1:80",
        "a..b:1",
        ".a:1",
        "-a:1",
        "a-:1",
        "a/b:1",
        "h\u{f6}st:1",
        "quic://host:1",
        "a:1,b:2",
        &overlong_label,
        &overlong_name,
    ] {
        assert_eq!(
            parse(text),
            Err(ContactError::BadAddress(text.to_owned())),
            "{text}"
        );
    }
}

#[test]
fn too_many_hosts_are_refused() {
    let hosts = |count| vec!["h:1"; count].join(",");
    assert!(parse(&format!("{}@{}", id(), hosts(8))).is_ok());
    assert_eq!(
        parse(&format!("{}@{}", id(), hosts(9))),
        Err(ContactError::TooManyAddresses(9))
    );
}

#[test]
fn a_bad_id_is_not_taken_for_a_host() {
    assert!(matches!(
        parse("node7@10.0.0.7:1"),
        Err(ContactError::BadNodeId(_))
    ));
    assert!(matches!(
        parse("@10.0.0.7:1"),
        Err(ContactError::BadNodeId(_))
    ));
}

#[test]
fn a_contact_is_dialled_at_its_addresses_under_its_id() {
    let addresses: [SocketAddr; 2] = [
        "10.0.0.7:1".parse().unwrap(),
        "[2001:db8::1]:2".parse().unwrap(),
    ];
    let contact = Contact::new(id(), addresses);
    let target = DialTarget::from(&contact);
    assert_eq!(target.to_string(), contact.to_string());
    assert_eq!(parse(&contact.to_string()), Ok(target));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_and_what_is_parsed_round_trips(
        text in "[a-z0-9:.@,\\[\\]%-]{0,40}|\\PC{0,40}",
    ) {
        if let Ok(target) = parse(&text) {
            prop_assert_eq!(parse(&target.to_string()), Ok(target));
        }
        if let Ok(contact) = format!("{}@{text}", id()).parse::<Contact>() {
            prop_assert_eq!(contact.to_string().parse(), Ok(contact));
        }
    }
}
