//! Signed records: what they cost beyond the signature.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Context;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use macula_core::{Addresses, Delivery, Extensions, Metadata, ProviderRecord, RecordDraft};
use macula_core::{Realm, SecretKey, Timestamp};
use tokio::time::Instant;

use crate::figure::Unit;
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

/// What is measured of macula-core.
pub(super) const MEASUREMENTS: &[Measurement] = &[Measurement {
    name: "verifying a record, decoding included, over its bare Ed25519 check",
    unit: Unit::Ratio,
    goal: Goal::AtMost(1.25),
    clock: Clock::Real,
    run: record_verification,
}];

/// Verifications per side of a pair.
const ROUNDS: u32 = 500;

const SECRET: [u8; SecretKey::LEN_BYTES] = [7; SecretKey::LEN_BYTES];

fn record_verification(session: &Session) -> anyhow::Result<Estimate> {
    let record = record()?;
    let signed = record.signed();
    let key = SigningKey::from_bytes(&SECRET);
    // A record's signature covers its digest.
    let message = [0x5a; 32];
    let signature = key.sign(&message);
    session
        .paired(
            || time(|| ProviderRecord::verify(signed.clone()).context("record")),
            || time(|| bare_check(&key.verifying_key(), &message, &signature)),
        )?
        .ratio()
}

fn bare_check(key: &VerifyingKey, message: &[u8], signature: &Signature) -> anyhow::Result<()> {
    // Decompressing the key is part of it, as a reader starts from 32 bytes.
    let key = VerifyingKey::from_bytes(key.as_bytes()).context("key")?;
    key.verify_strict(message, signature).context("signature")
}

fn time<T>(mut verify: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<f64> {
    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(verify()?);
    }
    Ok(started.elapsed().as_secs_f64())
}

fn record() -> anyhow::Result<ProviderRecord> {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: "bench.core.record".parse()?,
        addresses: Addresses::from_iter(["192.0.2.1:9443".parse()?]),
        metadata: Metadata::new(),
        delivery: Delivery::AtLeastOnce,
        seq: 1,
        issued_at: Timestamp::from_unix_millis(1_700_000_000_000),
        ttl: Duration::from_secs(300),
        extensions: Extensions::default(),
    };
    Ok(ProviderRecord::sign(
        &SecretKey::from_bytes(&SECRET),
        draft,
    )?)
}
