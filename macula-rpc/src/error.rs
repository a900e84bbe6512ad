//! Why a call has no result.

use macula_core::NameError;
use macula_registry::ResolveError;
use macula_transport::Executed;

use crate::attempt::{After, Listed, executed};
use crate::{Attempt, AttemptOutcome, HandlerError};

/// Why a call has no result. [`executed`](Self::executed) says whether it may have run.
///
/// Attempts are in the order they were made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// What was called is not a service name.
    #[error("bad service name")]
    Name(#[source] NameError),
    /// Nobody provides the name: the network was asked.
    #[error("service not found")]
    ServiceNotFound,
    /// The network could not be asked who provides the name. Trying later may help.
    #[error("cannot look up the service")]
    Discovery(#[source] ResolveError),
    /// Every provider was tried, and none could answer.
    #[error("all providers failed{}", Listed(.attempts))]
    AllProvidersFailed {
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// As many providers were tried as the call allows; there are more.
    #[error("maximum of {} attempts exceeded{}", .attempts.len(), Listed(.attempts))]
    MaxAttemptsExceeded {
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// More attempts might have helped, but calls of this node have made so many lately that more
    /// would only add to what broke the providers.
    #[error("retry budget exhausted{}", Listed(.attempts))]
    RetryBudgetExhausted {
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// The time of the call is over, or a call that may run only once was not answered in time.
    #[error("timed out{}", Listed(.attempts))]
    Timeout {
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// The connection was lost after the call was sent, and the call may run only once.
    #[error("connection lost{}", Listed(.attempts))]
    Connection {
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// The handler was stopped before it ended, because its service was withdrawn or its node
    /// shuts down, and it may run only once.
    #[error("handler stopped{}", Listed(.attempts))]
    Cancelled {
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// The service's own error.
    #[error("service error: {error}{}", After(.attempts))]
    Handler {
        /// What it says, verbatim.
        error: HandlerError,
        /// What was tried; the last one answered so.
        attempts: Vec<Attempt>,
    },
    /// The handler panicked.
    #[error("handler panicked{}", After(.attempts))]
    HandlerPanicked {
        /// What was tried; the last one panicked.
        attempts: Vec<Attempt>,
    },
    /// Every provider has too much to do. Trying later may help.
    #[error("overloaded{}", Listed(.attempts))]
    Overloaded {
        /// What was tried; empty when the handler is this node's own.
        attempts: Vec<Attempt>,
    },
    /// Every provider refuses calls from this node.
    #[error("denied{}", Listed(.attempts))]
    Denied {
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// The arguments or the result cannot be written or read.
    #[error("{part} {reason}{}", After(.attempts))]
    Codec {
        /// Which of them.
        part: Part,
        /// What the codec says, here or at the provider.
        reason: String,
        /// What was tried; nothing when the arguments could not be written.
        attempts: Vec<Attempt>,
    },
    /// The arguments or the result are longer than a message may be.
    #[error("{part} too large: more than {limit_bytes} bytes{}", After(.attempts))]
    TooLarge {
        /// Which of them.
        part: Part,
        /// The limit.
        limit_bytes: u64,
        /// What was tried; nothing when the arguments are beyond this node's own limit.
        attempts: Vec<Attempt>,
    },
    /// The selector chose nobody, or somebody who is not there.
    #[error("selector chose {chosen:?} of {candidates} candidates")]
    Selector {
        /// The index it returned.
        chosen: Option<usize>,
        /// How many there were.
        candidates: usize,
        /// What was tried before.
        attempts: Vec<Attempt>,
    },
    /// This node shuts down.
    #[error("shutting down")]
    ShuttingDown {
        /// What was tried before.
        attempts: Vec<Attempt>,
    },
}

/// One of the two bodies of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// What the caller sends.
    Arguments,
    /// What the handler returns.
    Result,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Arguments => "arguments",
            Self::Result => "result",
        })
    }
}

impl CallError {
    /// Whether the call can have been carried out, by any of its attempts.
    pub fn executed(&self) -> Executed {
        executed(self.attempts())
    }

    /// What was tried, in order.
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::AllProvidersFailed { attempts }
            | Self::MaxAttemptsExceeded { attempts }
            | Self::RetryBudgetExhausted { attempts }
            | Self::Timeout { attempts }
            | Self::Connection { attempts }
            | Self::Cancelled { attempts }
            | Self::Overloaded { attempts }
            | Self::Denied { attempts }
            | Self::Handler { attempts, .. }
            | Self::HandlerPanicked { attempts }
            | Self::Codec { attempts, .. }
            | Self::TooLarge { attempts, .. }
            | Self::Selector { attempts, .. }
            | Self::ShuttingDown { attempts } => attempts,
            Self::Name(_) | Self::ServiceNotFound | Self::Discovery(_) => &[],
        }
    }

    /// The error of a call whose candidates are used up.
    pub(crate) fn used_up(attempts: Vec<Attempt>) -> Self {
        let all = |f: fn(&AttemptOutcome) -> bool| {
            !attempts.is_empty() && attempts.iter().all(|attempt| f(&attempt.outcome))
        };
        if all(AttemptOutcome::is_overload) {
            Self::Overloaded { attempts }
        } else if all(AttemptOutcome::is_denial) {
            Self::Denied { attempts }
        } else {
            Self::AllProvidersFailed { attempts }
        }
    }

    /// The error of a call that may run only once and perhaps has.
    pub(crate) fn perhaps_executed(attempts: Vec<Attempt>) -> Self {
        match attempts.last().map(|attempt| &attempt.outcome) {
            Some(AttemptOutcome::TimedOut) => Self::Timeout { attempts },
            Some(AttemptOutcome::Aborted) => Self::Cancelled { attempts },
            _ => Self::Connection { attempts },
        }
    }
}
