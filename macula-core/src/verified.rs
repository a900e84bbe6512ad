//! Statements whose structure and signature have been checked.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, BoundedBytes};
use crate::signed::{MAX_SIGNED_BYTES, Signed};
use crate::{NodeId, RecordError, SecretKey};

/// What a node signs: the body of a record or of a withdrawal.
pub(crate) trait Statement: Serialize + DeserializeOwned {
    /// Separates the signatures over one kind of statement from those over every other.
    const CONTEXT: &'static str;

    /// Who has to have signed it.
    fn signer(&self) -> NodeId;

    /// Checks the bounds that the types of its fields do not enforce.
    fn check(&self) -> Result<(), RecordError>;
}

/// A statement with the bytes that its signer signed.
pub(crate) struct Verified<S> {
    pub(crate) statement: S,
    pub(crate) digest: [u8; 32],
    pub(crate) signed: Signed,
}

// Ed25519 lets a signer make many signatures over one payload. Were they told apart, merging two
// claims of equal precedence would depend on which came first.
impl<S> PartialEq for Verified<S> {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl<S> Eq for Verified<S> {}

impl<S: Statement> Verified<S> {
    pub(crate) fn sign(secret_key: &SecretKey, statement: S) -> Result<Self, RecordError> {
        statement.check()?;
        let payload = BoundedBytes::try_from(Bytes::from(encode(&statement)?))
            .map_err(|_| RecordError::Malformed)?;
        let signed = Signed::sign(secret_key, S::CONTEXT, payload);
        Ok(Self::new(statement, signed))
    }

    pub(crate) fn verify(signed: Signed) -> Result<Self, RecordError> {
        let statement: S = codec::decode(signed.payload(), MAX_SIGNED_BYTES)
            .map_err(|_| RecordError::Malformed)?;
        // postcard reads padded integers and maps in any order: one statement has one encoding
        // only because everything else is refused here.
        if encode(&statement)? != signed.payload() {
            return Err(RecordError::Malformed);
        }
        statement.check()?;
        let verified = Self::new(statement, signed);
        if verified.is_authentic() {
            Ok(verified)
        } else {
            Err(RecordError::BadSignature)
        }
    }

    fn new(statement: S, signed: Signed) -> Self {
        let digest = signed.digest(S::CONTEXT);
        Self {
            statement,
            digest,
            signed,
        }
    }

    fn is_authentic(&self) -> bool {
        self.signed
            .is_signed_by(&self.statement.signer(), &self.digest)
    }
}

fn encode<S: Statement>(statement: &S) -> Result<Vec<u8>, RecordError> {
    codec::encode(statement, MAX_SIGNED_BYTES).map_err(|_| RecordError::Malformed)
}
