//! What the program's exit code says, one code per class of error.

use std::error::Error;
use std::process::ExitCode;

use macula_client::registry::{AdvertiseError as RefusedError, ResolveError};
use macula_client::{AdvertiseError, CallError, ConnectError, ProvidersError};

/// Shown below every `--help` of a command that can end in all these ways.
pub(crate) const HELP: &str = "\
Exit codes:
  0  success, or ended by Ctrl-C while serving
  1  something unexpected
  2  wrong usage: bad argument, name, contact, JSON or identity file
  3  nobody provides the function
  4  the network cannot be entered or asked, every provider failed, or lookups do not hold in
     a simulated network
  5  out of time
  6  the function answered with an error
  7  refused: overloaded, denied, shutting down, or tried again too often lately
  130  interrupted by Ctrl-C before the answer";

/// A class of errors, which a script can tell apart by the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Class {
    Unexpected = 1,
    Usage = 2,
    NotFound = 3,
    Network = 4,
    Timeout = 5,
    Handler = 6,
    Refused = 7,
    Interrupted = 130,
}

impl From<Class> for ExitCode {
    fn from(class: Class) -> Self {
        Self::from(class as u8)
    }
}

/// Why the program ends with another code than zero.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            class: Class::Usage,
            message: message.into(),
        }
    }

    pub(crate) fn interrupted() -> Self {
        Self {
            class: Class::Interrupted,
            message: "interrupted".to_owned(),
        }
    }

    /// An error with its causes, of a class.
    pub(crate) fn of(class: Class, error: &(dyn Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self { class, message }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let class = match &error {
            ConnectError::Realm(_)
            | ConnectError::Bootstrap(_)
            | ConnectError::AdvertiseAddress
            | ConnectError::Identity(_) => Class::Usage,
            ConnectError::Join(_) | ConnectError::Quic(_) => Class::Network,
            _ => Class::Unexpected,
        };
        Self::of(class, &error)
    }
}

impl From<AdvertiseError> for Failure {
    fn from(error: AdvertiseError) -> Self {
        let class = match &error {
            AdvertiseError::Name(_)
            | AdvertiseError::Metadata(_)
            | AdvertiseError::Refused(RefusedError::Record(_) | RefusedError::ReservedName) => {
                Class::Usage
            }
            AdvertiseError::Refused(_) => Class::Network,
            _ => Class::Unexpected,
        };
        let mut failure = Self::of(class, &error);
        if let AdvertiseError::Refused(RefusedError::NoReachableAddress) = &error {
            failure.message.push_str(
                ": listen at a specific one, enter a network by --bootstrap, \
                 or give --advertise-address",
            );
        }
        failure
    }
}

impl From<ProvidersError> for Failure {
    fn from(error: ProvidersError) -> Self {
        let class = match &error {
            ProvidersError::Name(_) => Class::Usage,
            ProvidersError::Resolve(ResolveError::NotFound) => Class::NotFound,
            ProvidersError::Resolve(ResolveError::TimedOut) => Class::Timeout,
            _ => Class::Network,
        };
        Self::of(class, &error)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let class = match &error {
            CallError::Name(_) | CallError::Codec { .. } | CallError::TooLarge { .. } => {
                Class::Usage
            }
            CallError::ServiceNotFound => Class::NotFound,
            CallError::Timeout { .. } => Class::Timeout,
            CallError::Handler { .. } | CallError::HandlerPanicked { .. } => Class::Handler,
            CallError::Overloaded { .. }
            | CallError::Denied { .. }
            // As with overload: later, rather than elsewhere.
            | CallError::RetryBudgetExhausted { .. }
            | CallError::ShuttingDown { .. } => Class::Refused,
            _ => Class::Network,
        };
        Self::of(class, &error)
    }
}

#[cfg(test)]
mod tests {
    use macula_client::HandlerError;

    use super::*;

    #[test]
    fn what_a_script_would_do_about_a_failed_call_tells_its_class() {
        let attempts = Vec::new;
        for (error, class) in [
            (CallError::ServiceNotFound, Class::NotFound),
            (
                CallError::Discovery(ResolveError::Inconclusive),
                Class::Network,
            ),
            (
                CallError::AllProvidersFailed {
                    attempts: attempts(),
                },
                Class::Network,
            ),
            (
                CallError::Timeout {
                    attempts: attempts(),
                },
                Class::Timeout,
            ),
            (
                CallError::Handler {
                    error: HandlerError::new("no luck"),
                    attempts: attempts(),
                },
                Class::Handler,
            ),
            (
                CallError::HandlerPanicked {
                    attempts: attempts(),
                },
                Class::Handler,
            ),
            (
                CallError::Overloaded {
                    attempts: attempts(),
                },
                Class::Refused,
            ),
            (
                CallError::RetryBudgetExhausted {
                    attempts: attempts(),
                },
                Class::Refused,
            ),
        ] {
            let told = error.to_string();
            assert_eq!(Failure::from(error).class, class, "{told}");
        }
    }
}
