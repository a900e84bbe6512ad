//! The vocabulary of Macula: who a node is, where a name lives in the keyspace, what a provider
//! claims, and how all of it is encoded.
//!
//! Nothing here does I/O beyond the identity file, nothing is async, and nothing reads a clock:
//! wall-clock time comes in as a [`Timestamp`].
//!
//! | to say | there is |
//! |---|---|
//! | who | [`SecretKey`], [`NodeId`], [`IdentityFile`] |
//! | where | [`Key`], [`Distance`] |
//! | what is called | [`Realm`], [`ServiceName`] |
//! | how it is reached | [`Contact`], [`DialTarget`] |
//! | what is claimed | [`ProviderRecord`], [`Withdrawal`], [`Claim`], [`Provider`] |
//! | how it travels | [`codec`], [`Extensions`], [`Signed`] |
//!
//! A provider signs what it claims, and whoever reads it needs nobody's word for it:
//!
//! ```
//! use std::time::Duration;
//!
//! use macula_core::{Delivery, ProviderRecord, RecordDraft, SecretKey, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let secret_key = SecretKey::generate()?;
//! let now = Timestamp::from_unix_millis(1_800_000_000_000);
//! let record = ProviderRecord::sign(
//!     &secret_key,
//!     RecordDraft {
//!         realm: "com.myapp".parse()?,
//!         service: "myapp.get_user".parse()?,
//!         addresses: ["10.0.0.7:9443".parse()?].into_iter().collect(),
//!         metadata: Default::default(),
//!         delivery: Delivery::AtLeastOnce,
//!         seq: 1,
//!         issued_at: now,
//!         ttl: Duration::from_secs(300),
//!         extensions: Default::default(),
//!     },
//! )?;
//!
//! // Elsewhere: what came in is a record only if its provider has signed it.
//! let received = ProviderRecord::verify(record.signed().clone())?;
//! assert_eq!(received.provider(), secret_key.node_id());
//! assert_eq!(received.admit(now, received.ttl())?, received.ttl());
//! # Ok(())
//! # }
//! ```

pub mod codec;

mod identity;
mod keyspace;
mod name;
mod realm;

mod address;
mod contact;
mod dial_target;

mod sequence;
mod time;

mod claim;
mod extension;
mod metadata;
mod provider;
mod record;
mod signed;
mod verified;
mod withdrawal;

pub use address::{Addresses, MAX_ADDRESSES};
pub use claim::{Claim, Precedence};
pub use contact::{Contact, ContactError};
pub use dial_target::{DialTarget, HostPort};
pub use extension::{ExtensionError, Extensions, MAX_EXTENSION_BYTES, MAX_EXTENSIONS};
pub use identity::{IdentityError, IdentityFile, NodeId, ParseIdError, SecretKey, SequenceFile};
pub use keyspace::{Distance, KEY_BITS, Key};
pub use metadata::{MAX_METADATA_BYTES, Metadata, MetadataError};
pub use name::{MAX_NAME_BYTES, NameError, ServiceName};
pub use provider::Provider;
pub use realm::Realm;
pub use record::{Delivery, ProviderRecord, RecordDraft, RecordError};
pub use sequence::{
    SEQUENCE_AHEAD, SEQUENCE_RESERVE, Sequence, SequenceStore, UnsavedSequence,
    sequence_reservation,
};
pub use signed::{MAX_SIGNED_BYTES, Signed};
pub use time::{CLOCK_SKEW, MAX_TTL, MIN_TTL, Timestamp, WallClock};
pub use withdrawal::{Withdrawal, WithdrawalDraft};
