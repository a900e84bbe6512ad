use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn plain() -> Hello {
    Hello {
        versions: Versions::OWN,
        realm: "com.myapp".parse().unwrap(),
        role: Role::Server,
        listening: "127.0.0.1:7000".parse::<SocketAddr>().into_iter().collect(),
        capabilities: 0,
        dialled: None,
        purpose: Purpose::Requests,
    }
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port))),
        any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port))),
    ]
    .prop_map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port()))
}

prop_compose! {
    fn any_hello()(
        min in 0u16..10,
        span in 0u16..10,
        client in any::<bool>(),
        probe in any::<bool>(),
        listening in vec(any_address(), 0..=MAX_ADDRESSES),
        dialled in proptest::option::of(any_address()),
        capabilities in any::<u64>(),
        realm in "[a-z]{1,20}(\\.[a-z]{1,20}){0,3}",
    ) -> Hello {
        Hello {
            versions: Versions { min, max: min + span },
            realm: realm.parse().unwrap(),
            role: if client { Role::Client } else { Role::Server },
            listening: listening.into_iter().collect(),
            capabilities,
            dialled,
            purpose: if probe { Purpose::Probe } else { Purpose::Requests },
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(hello in any_hello()) {
        let bytes = hello.encode();
        prop_assert!(bytes.len() <= MAX_HELLO_BYTES);
        prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..2048)) {
        let _ = Hello::decode(&bytes);
    }

    #[test]
    fn a_truncated_hello_never_decodes_to_the_whole(hello in any_hello(), cut in any::<prop::sample::Index>()) {
        let bytes = hello.encode();
        prop_assert_ne!(Hello::decode(&bytes[..cut.index(bytes.len())]), Ok(hello));
    }

    #[test]
    fn unknown_tags_are_skipped(hello in any_hello(), tag in 8u8.., value in vec(any::<u8>(), 0..64)) {
        let mut bytes = hello.encode().to_vec();
        bytes.push(tag);
        bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend(value);
        prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
    }
}

#[test]
fn the_encoding_is_frozen() {
    let mut hello = plain();
    hello.dialled = Some("10.0.0.7:9443".parse().unwrap());
    let expected: &[u8] = b"\x01\x00\x04\x00\x01\x00\x01\x02\x00\x09com.myapp\x03\x00\x01\x00\
        \x04\x00\x07\x04\x7f\x00\x00\x01\x1b\x58\x05\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\
        \x06\x00\x07\x04\x0a\x00\x00\x07\x24\xe3";
    assert_eq!(&hello.encode()[..], expected);
}

#[test]
fn a_known_tag_twice_is_refused() {
    let mut bytes = plain().encode().to_vec();
    bytes.extend([3, 0, 1, 0]);
    assert_eq!(Hello::decode(&bytes), Err(BadHello));
}

#[test]
fn an_overlong_hello_is_refused() {
    let mut bytes = plain().encode().to_vec();
    bytes.extend([200, 4, 0]);
    bytes.extend([0; 1024]);
    assert_eq!(Hello::decode(&bytes), Err(BadHello));
}

#[test]
fn versions_are_judged_before_realms() {
    let mut other = plain();
    other.realm = Realm::default();
    assert_eq!(plain().check(&other), Err(CloseCode::WrongRealm));
    other.versions = Versions { min: 2, max: 9 };
    assert_eq!(plain().check(&other), Err(CloseCode::WrongVersion));
    other = plain();
    other.versions = Versions { min: 0, max: 9 };
    assert_eq!(plain().check(&other), Ok(()));
}

#[test]
fn the_bound_in_the_specification_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SPEC.md");
    let text = std::fs::read_to_string(path).unwrap();
    let row = format!("| `MAX_HELLO_BYTES` | {MAX_HELLO_BYTES} |\n");
    assert!(text.contains(&row), "{row}");
}
