//! Why a connection of a peer is not taken, what the peer is told, and how it is counted.

use crate::CloseCode;

/// A reason not to take a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Its hello names another realm.
    WrongRealm,
    /// Its hello names no protocol version that we speak.
    WrongVersion,
    /// It sent something else than a hello.
    Malformed,
    /// It said no hello in time, or did not take ours.
    Silent,
    /// It said no hello yet, and too many others came after it.
    Crowded,
    /// There is no room for a connection.
    Full,
    /// This node drains.
    Draining,
    /// It went before it said hello.
    Left,
}

impl Rejection {
    /// Of a hello that does not agree with ours.
    pub(super) fn of(code: CloseCode) -> Self {
        match code {
            CloseCode::WrongRealm => Self::WrongRealm,
            CloseCode::WrongVersion => Self::WrongVersion,
            _ => Self::Malformed,
        }
    }

    /// What the peer is told.
    pub(super) fn code(self) -> CloseCode {
        match self {
            Self::WrongRealm => CloseCode::WrongRealm,
            Self::WrongVersion => CloseCode::WrongVersion,
            Self::Malformed => CloseCode::Malformed,
            Self::Silent => CloseCode::HelloTimeout,
            Self::Crowded | Self::Full => CloseCode::Overloaded,
            Self::Draining => CloseCode::ShuttingDown,
            Self::Left => CloseCode::Done,
        }
    }

    /// Its name in events.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WrongRealm => "wrong_realm",
            Self::WrongVersion => "wrong_version",
            Self::Malformed => "malformed",
            Self::Silent => "silent",
            Self::Crowded => "crowded",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Left => "left",
        }
    }
}
