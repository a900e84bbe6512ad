//! The bytes of every wire type, checked in under `tests/golden/`.
//!
//! A change of the wire fails here. When it is meant, renew the files and commit them with it:
//!
//! ```sh
//! MACULA_RENEW_GOLDEN=1 cargo test -p macula-core golden
//! ```

use std::fs;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use macula_core::{Contact, Delivery, Extensions, Key, Realm, Signed, Timestamp, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::generate::{record, record_draft, secret_key, withdrawal, withdrawal_draft};
use crate::wire::LIMIT_BYTES;

/// One value, its bytes, and whether bytes are read as this value.
struct Vector {
    name: &'static str,
    bytes: Vec<u8>,
    reads_back: ReadsBack,
}

type ReadsBack = Box<dyn Fn(&[u8]) -> bool>;

fn vector<T>(name: &'static str, value: T) -> Vector
where
    T: Serialize + DeserializeOwned + PartialEq + 'static,
{
    Vector {
        name,
        bytes: codec::encode(&value, LIMIT_BYTES).unwrap(),
        reads_back: Box::new(move |bytes| {
            codec::decode::<T>(bytes, LIMIT_BYTES).is_ok_and(|decoded| decoded == value)
        }),
    }
}

fn vectors() -> Vec<Vector> {
    let node_id = secret_key(1).node_id();
    let draft = record_draft();
    let service_key = Key::of_service(&draft.realm, &draft.service);
    let contact = Contact::new(node_id, draft.addresses.iter().copied());
    let mut extensions = Extensions::default();
    extensions.push(1, b"one".as_slice().into()).unwrap();
    extensions.push(300, Vec::new().into()).unwrap();
    let mut extended = draft.clone();
    extended.extensions = extensions.clone();
    let signed: [(&'static str, Signed); 3] = [
        ("provider_record", record(draft.clone()).signed().clone()),
        (
            "provider_record_extended",
            record(extended).signed().clone(),
        ),
        (
            "withdrawal",
            withdrawal(withdrawal_draft()).signed().clone(),
        ),
    ];
    let mut vectors = vec![
        vector("node_id", node_id),
        vector("key_of_node", Key::of_node(&node_id)),
        vector("key_of_service", service_key),
        vector("realm", draft.realm),
        vector("realm_default", Realm::default()),
        vector("service_name", draft.service),
        vector("addresses", draft.addresses),
        vector("contact", contact),
        vector("metadata", draft.metadata),
        vector("extensions", extensions),
        vector("delivery_at_least_once", Delivery::AtLeastOnce),
        vector("delivery_at_most_once", Delivery::AtMostOnce),
        vector("timestamp", Timestamp::from_unix_millis(1_800_000_000_000)),
    ];
    vectors.extend(signed.map(|(name, signed)| vector(name, signed)));
    vectors
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn path_of(name: &str) -> PathBuf {
    folder().join(format!("{name}.hex"))
}

/// Lines of 32 bytes each.
fn to_text(bytes: &[u8]) -> String {
    bytes
        .chunks(32)
        .map(|line| HEXLOWER.encode(line) + "\n")
        .collect()
}

fn from_text(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    HEXLOWER.decode(digits.as_bytes()).unwrap()
}

fn renew_if_asked() {
    if std::env::var_os("MACULA_RENEW_GOLDEN").is_some() {
        for vector in vectors() {
            fs::write(path_of(vector.name), to_text(&vector.bytes)).unwrap();
        }
    }
}

#[test]
fn golden_bytes_are_written_and_read() {
    renew_if_asked();
    for vector in vectors() {
        let golden = fs::read_to_string(path_of(vector.name))
            .map(|text| from_text(&text))
            .unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(
            to_text(&vector.bytes),
            to_text(&golden),
            "{} is written differently",
            vector.name
        );
        assert!(
            (vector.reads_back)(&golden),
            "{} is read differently",
            vector.name
        );
    }
}

#[test]
fn golden_files_are_all_in_use() {
    let vectors = vectors();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let known = vectors.iter().any(|vector| path_of(vector.name) == path);
        assert!(known, "{} belongs to no wire type", path.display());
    }
}
