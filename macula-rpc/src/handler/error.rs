//! How a handler says that it failed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::CodecError;
use crate::message::ErrorText;

/// A service's own error: it goes back to the caller verbatim and is not tried elsewhere.
///
/// Anything that is a [`std::error::Error`] turns into one with `?`, its sources included. For
/// that it is no `Error` itself. Text beyond [`MAX_ERROR_BYTES`](crate::MAX_ERROR_BYTES) is cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerError {
    code: u32,
    message: ErrorText,
}

impl HandlerError {
    /// An error with a text for humans and the code zero.
    pub fn new(message: impl AsRef<str>) -> Self {
        Self {
            code: 0,
            message: ErrorText::truncating(message.as_ref()),
        }
    }

    /// Gives it a code for programs; what it means is between caller and service.
    #[must_use]
    pub fn with_code(self, code: u32) -> Self {
        Self { code, ..self }
    }

    /// The text for humans.
    pub fn message(&self) -> &str {
        self.message.as_str()
    }

    /// The code for programs; zero when the service gave none.
    pub fn code(&self) -> u32 {
        self.code
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(message)
    }
}

/// Why a handler has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerFailure {
    /// The service says so.
    Error(HandlerError),
    /// The arguments could not be read: the service's function was not entered.
    BadArguments(CodecError),
    /// The result cannot be written.
    BadResult(CodecError),
}

impl From<HandlerError> for HandlerFailure {
    fn from(error: HandlerError) -> Self {
        Self::Error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_ERROR_BYTES;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot load user")]
    struct Outer(#[source] std::num::ParseIntError);

    fn load(text: &str) -> Result<u32, HandlerError> {
        Ok(text.parse().map_err(Outer)?)
    }

    #[test]
    fn any_error_becomes_a_handler_error_with_its_sources() {
        let error = load("x").unwrap_err();
        assert_eq!(
            error.message(),
            "cannot load user: invalid digit found in string"
        );
        assert_eq!(error.code(), 0);
    }

    #[test]
    fn overlong_text_is_cut_at_a_character() {
        let error = HandlerError::new("ä".repeat(MAX_ERROR_BYTES)).with_code(7);
        assert_eq!(error.message().len(), MAX_ERROR_BYTES);
        assert!(error.message().chars().all(|c| c == 'ä'));
        assert_eq!(error.code(), 7);
    }
}
