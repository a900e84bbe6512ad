//! What an answer, or its absence, means for a call.

use bytes::Bytes;
use macula_transport::{DialError, Executed, Refusal, RequestError, RequestFailure};

use crate::message::{ReplyMessage, Status};
use crate::{Attempt, AttemptOutcome, CallError, Codec, Part};

/// What became of one attempt.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) outcome: AttemptOutcome,
    pub(super) executed: Executed,
    pub(super) detail: Detail,
}

/// What an outcome does not say by itself.
#[derive(Debug)]
pub(super) enum Detail {
    None,
    Result { body: Bytes, codec: Codec },
    Error(crate::HandlerError),
    Panic,
    Unreadable { part: Part, reason: String },
    TooLarge { part: Part, limit_bytes: u64 },
}

/// A result, and what was tried for it.
pub(super) struct Answer {
    pub(super) body: Bytes,
    pub(super) codec: Codec,
    pub(super) attempts: Vec<Attempt>,
}

impl Verdict {
    fn new(outcome: AttemptOutcome, executed: Executed) -> Self {
        Self {
            outcome,
            executed,
            detail: Detail::None,
        }
    }

    fn with(outcome: AttemptOutcome, executed: Executed, detail: Detail) -> Self {
        Self {
            outcome,
            executed,
            detail,
        }
    }

    pub(super) fn of_answer(answer: Result<Bytes, RequestError>) -> Self {
        match answer {
            Ok(message) => match ReplyMessage::decode(message) {
                Ok(reply) => Self::of_reply(reply),
                Err(_) => Self::new(AttemptOutcome::Malformed, Executed::Unknown),
            },
            Err(error) => Self::of_failure(error),
        }
    }

    pub(super) fn of_reply(reply: ReplyMessage) -> Self {
        use AttemptOutcome as Outcome;
        match reply.status {
            Status::Ok => {
                let (body, codec) = (reply.body, reply.codec);
                Self::with(
                    Outcome::Answered,
                    Executed::Yes,
                    Detail::Result { body, codec },
                )
            }
            Status::Handler(error) => {
                Self::with(Outcome::Failed, Executed::Yes, Detail::Error(error))
            }
            Status::Panicked => Self::with(Outcome::Panicked, Executed::Yes, Detail::Panic),
            Status::NotServed => Self::new(Outcome::NotServed, Executed::No),
            Status::Overloaded => Self::new(Outcome::Overloaded, Executed::No),
            Status::BadArguments(reason) => {
                Self::unreadable(Part::Arguments, reason.into_string(), Executed::No)
            }
            Status::BadResult(reason) => {
                Self::unreadable(Part::Result, reason.into_string(), Executed::Yes)
            }
            Status::ResultTooLarge { limit_bytes } => {
                Self::too_large(Part::Result, limit_bytes, Executed::Yes)
            }
            Status::ShuttingDown => Self::new(Outcome::ShuttingDown, Executed::No),
            Status::DeadlineExceeded => Self::new(Outcome::TimedOut, Executed::Unknown),
            Status::Aborted => Self::new(Outcome::Aborted, Executed::Unknown),
            Status::Denied => Self::new(Outcome::Refused(Refusal::Denied), Executed::No),
        }
    }

    fn of_failure(error: RequestError) -> Self {
        use AttemptOutcome as Outcome;
        let executed = error.executed;
        let outcome = match error.failure {
            RequestFailure::Dial(DialError::Closed) | RequestFailure::ShuttingDown => {
                Outcome::Closed
            }
            RequestFailure::Dial(error) => Outcome::Unreachable(error),
            RequestFailure::Refused(Refusal::DeadlineExceeded) | RequestFailure::Timeout(_) => {
                Outcome::TimedOut
            }
            RequestFailure::Refused(refusal) => Outcome::Refused(refusal),
            RequestFailure::Interrupted(error) => Outcome::Interrupted(error),
            RequestFailure::TooLarge { limit_bytes } => {
                let part = match executed {
                    Executed::No => Part::Arguments,
                    _ => Part::Result,
                };
                return Self::too_large(part, limit_bytes as u64, executed);
            }
            _ => Outcome::Malformed,
        };
        Self::new(outcome, executed)
    }

    fn unreadable(part: Part, reason: String, executed: Executed) -> Self {
        let detail = Detail::Unreadable { part, reason };
        Self::with(AttemptOutcome::Codec, executed, detail)
    }

    fn too_large(part: Part, limit_bytes: u64, executed: Executed) -> Self {
        let detail = Detail::TooLarge { part, limit_bytes };
        Self::with(AttemptOutcome::TooLarge, executed, detail)
    }
}

impl Detail {
    /// What a final outcome comes to after these attempts: a result, or the error that ends the
    /// call.
    pub(super) fn conclude(self, attempts: Vec<Attempt>) -> Result<Answer, CallError> {
        Err(match self {
            Self::Result { body, codec } => {
                return Ok(Answer {
                    body,
                    codec,
                    attempts,
                });
            }
            Self::Error(error) => CallError::Handler { error, attempts },
            Self::Panic => CallError::HandlerPanicked { attempts },
            Self::Unreadable { part, reason } => CallError::Codec {
                part,
                reason,
                attempts,
            },
            Self::TooLarge { part, limit_bytes } => CallError::TooLarge {
                part,
                limit_bytes,
                attempts,
            },
            Self::None => CallError::ShuttingDown { attempts },
        })
    }
}
