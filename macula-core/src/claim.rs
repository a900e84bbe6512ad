//! The order among a provider's claims to one service.

use crate::{Key, NodeId, ProviderRecord, Withdrawal};

/// What a provider last said about a service: that it provides it, or that it no longer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It provides the service.
    Record(ProviderRecord),
    /// It no longer does.
    Withdrawal(Withdrawal),
}

/// A claim's place in the total order of one provider's claims to one service: higher `seq`
/// first, then a withdrawal before a record, then the greater digest of the signed bytes.
///
/// Merging keeps the greatest, so it is a join-semilattice: commutative, associative, idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Precedence {
    seq: u64,
    is_withdrawal: bool,
    digest: [u8; 32],
}

impl Claim {
    /// The point of the service.
    pub fn key(&self) -> Key {
        match self {
            Self::Record(record) => record.key(),
            Self::Withdrawal(withdrawal) => withdrawal.key(),
        }
    }

    /// Who claims.
    pub fn provider(&self) -> NodeId {
        match self {
            Self::Record(record) => record.provider(),
            Self::Withdrawal(withdrawal) => withdrawal.provider(),
        }
    }

    /// The sequence number: of two claims of a provider to a service the higher wins.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Record(record) => record.seq(),
            Self::Withdrawal(withdrawal) => withdrawal.seq(),
        }
    }

    /// Where it stands among the claims of the same provider to the same service.
    pub fn precedence(&self) -> Precedence {
        match self {
            Self::Record(record) => record.precedence(),
            Self::Withdrawal(withdrawal) => withdrawal.precedence(),
        }
    }

    /// Keeps the claim that takes precedence. Both are of one provider to one service: claims of
    /// others have no order among them.
    pub fn merge(self, other: Self) -> Self {
        if other.precedence() > self.precedence() {
            other
        } else {
            self
        }
    }
}

impl ProviderRecord {
    /// Where it stands among the claims of the same provider to the same service.
    pub fn precedence(&self) -> Precedence {
        Precedence {
            seq: self.seq(),
            is_withdrawal: false,
            digest: *self.digest(),
        }
    }
}

impl Withdrawal {
    /// Where it stands among the claims of the same provider to the same service.
    pub fn precedence(&self) -> Precedence {
        Precedence {
            seq: self.seq(),
            is_withdrawal: true,
            digest: *self.digest(),
        }
    }
}

impl From<ProviderRecord> for Claim {
    fn from(record: ProviderRecord) -> Self {
        Self::Record(record)
    }
}

impl From<Withdrawal> for Claim {
    fn from(withdrawal: Withdrawal) -> Self {
        Self::Withdrawal(withdrawal)
    }
}
