//! The signed claim "I provide this service, here is where": what the DHT stores.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::verified::{Statement, Verified};
use crate::{
    Addresses, CLOCK_SKEW, Contact, Extensions, Key, MAX_TTL, MIN_TTL, Metadata, NodeId, Realm,
    SecretKey, ServiceName, Signed, Timestamp,
};

/// How often a call may be carried out when its first attempt was lost on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delivery {
    /// A lost attempt is tried elsewhere: the handler may run more than once.
    #[default]
    AtLeastOnce,
    /// A lost attempt ends the call: the handler never runs twice.
    AtMostOnce,
}

/// A provider's signed claim to a service. Verified by construction; cheap to clone.
///
/// Records are equal when their signed payloads are.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderRecord(Arc<Verified<Body>>);

/// What is signed, in the order of the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    realm: Realm,
    key: Key,
    provider: NodeId,
    addresses: Addresses,
    metadata: Metadata,
    delivery: Delivery,
    seq: u64,
    issued_at: Timestamp,
    ttl_millis: u64,
    extensions: Extensions,
}

/// What a provider decides about its record before signing it.
#[derive(Debug, Clone)]
pub struct RecordDraft {
    /// The realm of the service.
    pub realm: Realm,
    /// The name of the service.
    pub service: ServiceName,
    /// Where the provider can be dialled; may be empty.
    pub addresses: Addresses,
    /// What the provider says about itself.
    pub metadata: Metadata,
    /// How often a call may be carried out.
    pub delivery: Delivery,
    /// Orders this provider's claims to the service; see [`Sequence`](crate::Sequence).
    pub seq: u64,
    /// When the record is signed.
    pub issued_at: Timestamp,
    /// How long it counts from then: [`MIN_TTL`] ..= [`MAX_TTL`].
    pub ttl: Duration,
    /// What later versions add.
    pub extensions: Extensions,
}

/// Why a record or a withdrawal is refused. Its sender or its signer is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The signed bytes are not a record, or break one of its bounds.
    #[error("record is malformed")]
    Malformed,
    /// The signature does not belong to the provider that the record names.
    #[error("record is not signed by its provider")]
    BadSignature,
    /// The time to live is outside [`MIN_TTL`] ..= [`MAX_TTL`].
    #[error("time to live is outside {MIN_TTL:?} to {MAX_TTL:?}")]
    TtlOutOfRange,
    /// An address cannot be dialled; see [`Addresses::are_dialable`].
    #[error("record has an address that cannot be dialled")]
    UndialableAddress,
    /// Its time is over, [`CLOCK_SKEW`] granted.
    #[error("record has expired")]
    Expired,
    /// It is signed for a later time than now, [`CLOCK_SKEW`] granted.
    #[error("record is from the future")]
    FromTheFuture,
}

impl ProviderRecord {
    /// Signs a record.
    ///
    /// # Errors
    /// [`RecordError::TtlOutOfRange`], [`RecordError::UndialableAddress`], or
    /// [`RecordError::Malformed`] when the whole would be too large to be signed.
    pub fn sign(secret_key: &SecretKey, draft: RecordDraft) -> Result<Self, RecordError> {
        let body = Body {
            key: Key::of_service(&draft.realm, &draft.service),
            realm: draft.realm,
            provider: secret_key.node_id(),
            addresses: draft.addresses,
            metadata: draft.metadata,
            delivery: draft.delivery,
            seq: draft.seq,
            issued_at: draft.issued_at,
            ttl_millis: u64::try_from(draft.ttl.as_millis()).unwrap_or(u64::MAX),
            extensions: draft.extensions,
        };
        Verified::sign(secret_key, body).map(|verified| Self(Arc::new(verified)))
    }

    /// Checks the structure, the bounds and the signature of a record from the wire.
    ///
    /// Time is not looked at: see [`admit`](Self::admit).
    ///
    /// # Errors
    /// [`RecordError::Malformed`], [`RecordError::TtlOutOfRange`],
    /// [`RecordError::UndialableAddress`] or [`RecordError::BadSignature`].
    pub fn verify(signed: Signed) -> Result<Self, RecordError> {
        Verified::verify(signed).map(|verified| Self(Arc::new(verified)))
    }

    /// How long the record counts from now, for whoever receives it.
    ///
    /// `stated` is the remaining life that its sender states; a publisher states the whole time
    /// to live. The answer is never more than either, nor than what is left of the record's
    /// window with [`CLOCK_SKEW`] granted. From then on the receiver's monotonic clock counts.
    ///
    /// # Errors
    /// [`RecordError::Expired`] or [`RecordError::FromTheFuture`] outside the window
    /// `issued_at − skew ≤ now < issued_at + ttl + skew`; also `Expired` when no life is stated.
    pub fn admit(&self, now: Timestamp, stated: Duration) -> Result<Duration, RecordError> {
        let opens = self.issued_at().saturating_sub(CLOCK_SKEW);
        let closes = self
            .issued_at()
            .saturating_add(self.ttl())
            .saturating_add(CLOCK_SKEW);
        if now < opens {
            return Err(RecordError::FromTheFuture);
        }
        let life = stated.min(self.ttl()).min(closes.saturating_since(now));
        if life.is_zero() {
            return Err(RecordError::Expired);
        }
        Ok(life)
    }

    /// The realm of the service.
    pub fn realm(&self) -> &Realm {
        &self.0.statement.realm
    }

    /// The point of the service.
    pub fn key(&self) -> Key {
        self.0.statement.key
    }

    /// Who provides, and signed.
    pub fn provider(&self) -> NodeId {
        self.0.statement.provider
    }

    /// Where the provider can be dialled; may be empty.
    pub fn addresses(&self) -> &Addresses {
        &self.0.statement.addresses
    }

    /// The provider as a contact.
    pub fn contact(&self) -> Contact {
        Contact {
            node_id: self.provider(),
            addresses: self.addresses().clone(),
        }
    }

    /// What the provider says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.0.statement.metadata
    }

    /// How often a call may be carried out.
    pub fn delivery(&self) -> Delivery {
        self.0.statement.delivery
    }

    /// Orders this provider's claims to the service.
    pub fn seq(&self) -> u64 {
        self.0.statement.seq
    }

    /// When the record was signed, by its provider's clock.
    pub fn issued_at(&self) -> Timestamp {
        self.0.statement.issued_at
    }

    /// How long it counts from then.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.0.statement.ttl_millis)
    }

    /// What later versions added.
    pub fn extensions(&self) -> &Extensions {
        &self.0.statement.extensions
    }

    /// The signed bytes, for relaying.
    pub fn signed(&self) -> &Signed {
        &self.0.signed
    }

    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }
}

impl fmt::Debug for ProviderRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.statement.fmt(f)
    }
}

impl Statement for Body {
    const CONTEXT: &'static str = "macula 2026 signature: provider record";

    fn signer(&self) -> NodeId {
        self.provider
    }

    fn check(&self) -> Result<(), RecordError> {
        let ttl = Duration::from_millis(self.ttl_millis);
        if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
            return Err(RecordError::TtlOutOfRange);
        }
        if !self.addresses.are_dialable() {
            return Err(RecordError::UndialableAddress);
        }
        Ok(())
    }
}
