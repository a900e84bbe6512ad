//! The signed tombstone "I no longer provide this service".

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::verified::{Statement, Verified};
use crate::{
    CLOCK_SKEW, Extensions, Key, MAX_TTL, NodeId, Realm, RecordError, SecretKey, ServiceName,
    Signed, Timestamp,
};

/// A provider's signed retraction of its claims to a service up to a sequence number.
///
/// It beats every record of that provider and key with a lower or equal `seq`, until it may be
/// forgotten. Verified by construction; cheap to clone. Withdrawals are equal when their signed
/// payloads are.
#[derive(Clone, PartialEq, Eq)]
pub struct Withdrawal(Arc<Verified<Body>>);

/// What is signed, in the order of the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    realm: Realm,
    key: Key,
    provider: NodeId,
    seq: u64,
    until: Timestamp,
    extensions: Extensions,
}

/// What a provider decides about its withdrawal before signing it.
#[derive(Debug, Clone)]
pub struct WithdrawalDraft {
    /// The realm of the service.
    pub realm: Realm,
    /// The name of the service.
    pub service: ServiceName,
    /// Every record with this or a lower sequence number is retracted.
    pub seq: u64,
    /// When no retracted record can be alive any more, so that the withdrawal may be forgotten: not
    /// before `issued_at + ttl` of every one of them.
    pub until: Timestamp,
}

impl Withdrawal {
    /// The longest that a withdrawal is remembered: as long as any record it beats could count.
    pub const MAX_LIFE: Duration =
        Duration::from_secs(MAX_TTL.as_secs() + 2 * CLOCK_SKEW.as_secs());

    /// Signs a withdrawal.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when the whole would be too large to be signed.
    pub fn sign(secret_key: &SecretKey, draft: WithdrawalDraft) -> Result<Self, RecordError> {
        let body = Body {
            key: Key::of_service(&draft.realm, &draft.service),
            realm: draft.realm,
            provider: secret_key.node_id(),
            seq: draft.seq,
            until: draft.until,
            extensions: Extensions::default(),
        };
        Verified::sign(secret_key, body).map(|verified| Self(Arc::new(verified)))
    }

    /// Checks the structure and the signature of a withdrawal from the wire; time is not looked at.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] or [`RecordError::BadSignature`].
    pub fn verify(signed: Signed) -> Result<Self, RecordError> {
        Verified::verify(signed).map(|verified| Self(Arc::new(verified)))
    }

    /// How long the withdrawal has to be remembered from now: at most [`Self::MAX_LIFE`].
    ///
    /// # Errors
    /// [`RecordError::Expired`] when that time is over, [`CLOCK_SKEW`] granted.
    pub fn admit(&self, now: Timestamp) -> Result<Duration, RecordError> {
        let life = self
            .until()
            .saturating_add(CLOCK_SKEW)
            .saturating_since(now);
        if life.is_zero() {
            Err(RecordError::Expired)
        } else {
            Ok(life.min(Self::MAX_LIFE))
        }
    }

    /// The realm of the service.
    pub fn realm(&self) -> &Realm {
        &self.0.statement.realm
    }

    /// The point of the service.
    pub fn key(&self) -> Key {
        self.0.statement.key
    }

    /// Who withdraws, and signed.
    pub fn provider(&self) -> NodeId {
        self.0.statement.provider
    }

    /// Every record with this or a lower sequence number is retracted.
    pub fn seq(&self) -> u64 {
        self.0.statement.seq
    }

    /// When it may be forgotten, by its provider's clock.
    pub fn until(&self) -> Timestamp {
        self.0.statement.until
    }

    /// The signed bytes, for relaying.
    pub fn signed(&self) -> &Signed {
        &self.0.signed
    }

    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }
}

impl fmt::Debug for Withdrawal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.statement.fmt(f)
    }
}

impl Statement for Body {
    const CONTEXT: &'static str = "macula 2026 signature: withdrawal";

    fn signer(&self) -> NodeId {
        self.provider
    }

    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }
}
