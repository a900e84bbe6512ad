//! Namespaces: nodes of different realms never see each other's services.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::{NameError, check_dotted, deserialize_dotted};

/// A namespace of services, with the grammar of a [`ServiceName`](crate::ServiceName).
///
/// It is part of every service's key and of the hello on every connection.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm(Arc<str>);

impl Realm {
    /// The realm's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The realm of a node that names none: `open`.
impl Default for Realm {
    fn default() -> Self {
        Self("open".into())
    }
}

impl FromStr for Realm {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_dotted(text).map(|()| Self(text.into()))
    }
}

impl TryFrom<&str> for Realm {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        text.parse()
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Realm({})", self.0)
    }
}

impl Serialize for Realm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Realm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_dotted(deserializer).map(Self)
    }
}
