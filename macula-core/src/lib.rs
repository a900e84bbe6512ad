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

pub mod codec;

mod identity;
mod keyspace;
mod name;
mod realm;

mod address;
mod contact;
mod dial_target;

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
pub use identity::{IdentityError, IdentityFile, NodeId, ParseIdError, SecretKey};
pub use keyspace::{Distance, KEY_BITS, Key};
pub use metadata::{MAX_METADATA_BYTES, Metadata, MetadataError};
pub use name::{MAX_NAME_BYTES, NameError, ServiceName};
pub use provider::Provider;
pub use realm::Realm;
pub use record::{Delivery, ProviderRecord, RecordDraft, RecordError};
pub use signed::{MAX_SIGNED_BYTES, Signed};
pub use time::{CLOCK_SKEW, MAX_TTL, MIN_TTL, Sequence, Timestamp, WallClock};
pub use withdrawal::{Withdrawal, WithdrawalDraft};
