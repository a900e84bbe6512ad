//! One try of a call at one provider, and what became of it.

use std::fmt;
use std::time::Duration;

use macula_core::NodeId;
use macula_transport::{DialError, Executed, Refusal, StreamError};

use crate::health::Condition;

/// One try of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Whom it went to.
    pub provider: NodeId,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// Whether the provider can have carried the call out.
    pub executed: Executed,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether it was made although the provider had failed so often that it was to be left alone:
    /// so had all others that the call may go to, of which a pinned call has none, or too many of
    /// them to leave them all out.
    pub forced: bool,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The handler returned a result.
    #[error("answered")]
    Answered,
    /// The service returned an error of its own.
    #[error("answered with an error")]
    Failed,
    /// The handler panicked.
    #[error("handler panicked")]
    Panicked,
    /// Arguments or result could not be read or written.
    #[error("codec error")]
    Codec,
    /// Arguments or result are longer than a message may be.
    #[error("message too large")]
    TooLarge,
    /// No connection came about.
    #[error("cannot connect: {0}")]
    Unreachable(DialError),
    /// The provider's node refused the request.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The service is not, or no longer, provided there.
    #[error("not served")]
    NotServed,
    /// A limit of the service or of its node is reached.
    #[error("overloaded")]
    Overloaded,
    /// The provider shuts down.
    #[error("provider shuts down")]
    ShuttingDown,
    /// No answer within the attempt's share of the time.
    #[error("timed out")]
    TimedOut,
    /// The connection ended before the answer.
    #[error("interrupted: {0}")]
    Interrupted(StreamError),
    /// The handler was stopped before it ended.
    #[error("handler stopped")]
    Aborted,
    /// The answer is none.
    #[error("malformed answer")]
    Malformed,
    /// This node shuts down.
    #[error("this node shuts down")]
    Closed,
}

impl AttemptOutcome {
    /// Whether the call ends with this attempt: the provider answered, or no other would do better.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Answered
                | Self::Failed
                | Self::Panicked
                | Self::Codec
                | Self::TooLarge
                | Self::Closed
        )
    }

    /// Whether the provider should leave the discovery cache: whoever looks it up again finds it
    /// at its new address, or not at all.
    pub(crate) fn is_dead_end(&self) -> bool {
        match self {
            Self::Unreachable(error) => !matches!(
                error,
                DialError::PoolFull | DialError::Busy | DialError::Closed
            ),
            Self::Refused(refusal) => {
                matches!(refusal, Refusal::ShuttingDown | Refusal::UnknownProtocol)
            }
            Self::NotServed
            | Self::ShuttingDown
            | Self::TimedOut
            | Self::Interrupted(_)
            | Self::Malformed => true,
            _ => false,
        }
    }

    /// What it says of the provider's health. A service's own error is no ill health; what failed
    /// on this side, or had to, says nothing; who denies this node is of no use to it.
    pub(crate) fn condition(&self, executed: Executed) -> Condition {
        match self {
            Self::Answered => Condition::Well,
            Self::TooLarge if executed == Executed::No => Condition::Unknown,
            Self::Failed | Self::Codec | Self::TooLarge => Condition::Alive,
            Self::Closed
            | Self::Refused(Refusal::TooLarge)
            | Self::Unreachable(DialError::PoolFull | DialError::Busy | DialError::Closed) => {
                Condition::Unknown
            }
            _ => Condition::Ill,
        }
    }

    pub(crate) fn is_overload(&self) -> bool {
        matches!(self, Self::Overloaded | Self::Refused(Refusal::Overloaded))
    }

    pub(crate) fn is_denial(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Denied))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            outcome, elapsed, ..
        } = self;
        write!(f, "{}: {outcome} ({elapsed:.1?})", self.provider.short())
    }
}

/// Shows attempts in their order, after whatever was said before.
pub(crate) struct Listed<'a>(pub(crate) &'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, attempt) in self.0.iter().enumerate() {
            let separator = if i == 0 { ": " } else { "; " };
            write!(f, "{separator}{}. {attempt}", i + 1)?;
        }
        Ok(())
    }
}

/// Shows the attempts before the last one, if there are any: what the last one came to was said.
pub(crate) struct After<'a>(pub(crate) &'a [Attempt]);

impl fmt::Display for After<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_last() {
            Some((_, before)) if !before.is_empty() => {
                write!(f, ", after other attempts{}", Listed(before))
            }
            _ => Ok(()),
        }
    }
}

/// Whether any of the attempts can have been carried out.
pub(crate) fn executed(attempts: &[Attempt]) -> Executed {
    attempts
        .iter()
        .map(|attempt| attempt.executed)
        .max()
        .unwrap_or(Executed::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_too_large_say_nothing_of_their_providers_health() {
        let condition = |outcome: AttemptOutcome, executed| outcome.condition(executed);
        let refused = AttemptOutcome::Refused(Refusal::TooLarge);
        assert_eq!(condition(refused, Executed::No), Condition::Unknown);
        let unsent = AttemptOutcome::TooLarge;
        assert_eq!(condition(unsent, Executed::No), Condition::Unknown);
        let result = AttemptOutcome::TooLarge;
        assert_eq!(condition(result, Executed::Yes), Condition::Alive);
    }
}
