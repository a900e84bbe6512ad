//! The signed statements as the wire has them, written down a second time, so that tests can sign
//! what the product never would.

use std::net::SocketAddr;

use ed25519_dalek::{Signer as _, SigningKey};
use macula_core::{Key, RecordDraft, SecretKey, Signed, WithdrawalDraft, codec};
use serde::{Deserialize, Serialize};

pub(crate) const RECORD_CONTEXT: &str = "macula 2026 signature: provider record";
pub(crate) const WITHDRAWAL_CONTEXT: &str = "macula 2026 signature: withdrawal";

/// More than any signed statement has.
pub(crate) const LIMIT_BYTES: usize = 1 << 16;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireSigned {
    pub payload: Vec<u8>,
    pub signature: [[u8; 32]; 2],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireRecord {
    pub realm: String,
    pub key: [u8; 32],
    pub provider: [u8; 32],
    pub addresses: Vec<SocketAddr>,
    pub metadata: Vec<(String, String)>,
    pub delivery: u32,
    pub seq: u64,
    pub issued_at: u64,
    pub ttl_millis: u64,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireWithdrawal {
    pub realm: String,
    pub key: [u8; 32],
    pub provider: [u8; 32],
    pub seq: u64,
    pub until: u64,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl WireRecord {
    pub(crate) fn of(secret_key: &SecretKey, draft: &RecordDraft) -> Self {
        Self {
            realm: draft.realm.to_string(),
            key: *Key::of_service(&draft.realm, &draft.service).as_bytes(),
            provider: *secret_key.node_id().as_bytes(),
            addresses: draft.addresses.to_vec(),
            metadata: draft
                .metadata
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            delivery: draft.delivery as u32,
            seq: draft.seq,
            issued_at: draft.issued_at.unix_millis(),
            ttl_millis: draft.ttl.as_millis() as u64,
            extensions: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self, LIMIT_BYTES).unwrap()
    }
}

impl WireWithdrawal {
    pub(crate) fn of(secret_key: &SecretKey, draft: &WithdrawalDraft) -> Self {
        Self {
            realm: draft.realm.to_string(),
            key: *Key::of_service(&draft.realm, &draft.service).as_bytes(),
            provider: *secret_key.node_id().as_bytes(),
            seq: draft.seq,
            until: draft.until.unix_millis(),
            extensions: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self, LIMIT_BYTES).unwrap()
    }
}

impl WireSigned {
    /// Signs any payload under any context.
    pub(crate) fn sign(secret_key: &SecretKey, context: &str, payload: Vec<u8>) -> Self {
        let digest = blake3::derive_key(context, &payload);
        let signature = SigningKey::from_bytes(&secret_key.to_bytes())
            .sign(&digest)
            .to_bytes();
        let mut halves = [[0; 32]; 2];
        halves.as_flattened_mut().copy_from_slice(&signature);
        Self {
            payload,
            signature: halves,
        }
    }

    pub(crate) fn of(signed: &Signed) -> Self {
        codec::decode(&encode(signed), LIMIT_BYTES).unwrap()
    }

    /// The same bytes as a node receives them.
    pub(crate) fn received(&self) -> Signed {
        codec::decode(&codec::encode(self, LIMIT_BYTES).unwrap(), LIMIT_BYTES).unwrap()
    }
}

pub(crate) fn encode(signed: &Signed) -> Vec<u8> {
    codec::encode(signed, LIMIT_BYTES).unwrap()
}
