//! The kinds of failure: few, and named for good.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use macula_transport::{DialError, Refusal};
use serde::de::value::{Error as Unnamed, StringDeserializer};
use serde::de::{Deserializer, IntoDeserializer};
use serde::{Deserialize, Serialize};

use crate::message::Status;
use crate::{AttemptOutcome, CallError};

/// What kind of failure a call, an attempt or a handler ended with.
///
/// One vocabulary wherever failures are counted. Serialised, the names are in snake case; they are
/// for dashboards and stay what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureClass {
    /// The service's own error.
    Handler,
    /// The handler panicked.
    Panicked,
    /// Arguments, result or answer could not be written, read or carried.
    Unreadable,
    /// The time was over.
    Timeout,
    /// The handler was stopped before it ended: because its service was withdrawn or its node shuts
    /// down; where it ran, also because its time was over or nobody waited for it any more.
    Stopped,
    /// A limit was reached.
    Overloaded,
    /// The service's rule of access, or the provider's node, did not admit the caller.
    Denied,
    /// Nobody provides the service; of an attempt: that node does not.
    NotFound,
    /// The network could not be asked who provides the service.
    Discovery,
    /// No connection came about.
    Unreachable,
    /// The connection ended before the answer.
    Interrupted,
    /// As many providers as the call may try have failed, each in its own way.
    ProvidersFailed,
    /// The budget for further attempts was spent.
    OutOfBudget,
    /// The node shuts down: this one, or the provider's.
    ShuttingDown,
    /// The selector chose nobody, or somebody who is not there.
    Selector,
    /// Whoever made the call does not wait for it any more.
    GivenUp,
}

impl FailureClass {
    /// All of them, in their order.
    pub const ALL: [Self; 16] = [
        Self::Handler,
        Self::Panicked,
        Self::Unreadable,
        Self::Timeout,
        Self::Stopped,
        Self::Overloaded,
        Self::Denied,
        Self::NotFound,
        Self::Discovery,
        Self::Unreachable,
        Self::Interrupted,
        Self::ProvidersFailed,
        Self::OutOfBudget,
        Self::ShuttingDown,
        Self::Selector,
        Self::GivenUp,
    ];

    /// Whether a handler ran to its end all the same.
    pub(super) fn is_answer(self) -> bool {
        self == Self::Handler
    }
}

impl CallError {
    /// Its kind, as it is counted.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Name { .. } | Self::Codec { .. } | Self::TooLarge { .. } => {
                FailureClass::Unreadable
            }
            Self::ServiceNotFound { .. } => FailureClass::NotFound,
            Self::Discovery { .. } => FailureClass::Discovery,
            Self::AllProvidersFailed { .. } | Self::MaxAttemptsExceeded { .. } => {
                FailureClass::ProvidersFailed
            }
            Self::RetryBudgetExhausted { .. } => FailureClass::OutOfBudget,
            Self::Timeout { .. } => FailureClass::Timeout,
            Self::Connection { .. } => FailureClass::Interrupted,
            Self::Cancelled { .. } => FailureClass::Stopped,
            Self::Handler { .. } => FailureClass::Handler,
            Self::HandlerPanicked { .. } => FailureClass::Panicked,
            Self::Overloaded { .. } => FailureClass::Overloaded,
            Self::Denied { .. } => FailureClass::Denied,
            Self::Selector { .. } => FailureClass::Selector,
            Self::ShuttingDown { .. } => FailureClass::ShuttingDown,
        }
    }
}

impl AttemptOutcome {
    /// The kind of failure that it is, as it is counted; none when there was a result.
    pub fn class(&self) -> Option<FailureClass> {
        Some(match self {
            Self::Answered => return None,
            Self::Failed => FailureClass::Handler,
            Self::Panicked => FailureClass::Panicked,
            Self::Codec | Self::TooLarge | Self::Malformed => FailureClass::Unreadable,
            Self::Unreachable(DialError::Closed) | Self::ShuttingDown | Self::Closed => {
                FailureClass::ShuttingDown
            }
            Self::Unreachable(_) => FailureClass::Unreachable,
            Self::Refused(refusal) => class_of(*refusal),
            Self::NotServed => FailureClass::NotFound,
            Self::Overloaded => FailureClass::Overloaded,
            Self::TimedOut => FailureClass::Timeout,
            Self::Interrupted(_) => FailureClass::Interrupted,
            Self::Aborted => FailureClass::Stopped,
        })
    }
}

fn class_of(refusal: Refusal) -> FailureClass {
    match refusal {
        Refusal::Overloaded => FailureClass::Overloaded,
        Refusal::ShuttingDown | Refusal::Leaving => FailureClass::ShuttingDown,
        Refusal::UnknownProtocol => FailureClass::NotFound,
        Refusal::Denied => FailureClass::Denied,
        Refusal::DeadlineExceeded => FailureClass::Timeout,
        _ => FailureClass::Unreadable,
    }
}

impl Status {
    /// The kind of failure that it is, as it is counted; none when there is a result.
    pub(crate) fn class(&self) -> Option<FailureClass> {
        Some(match self {
            Self::Ok => return None,
            Self::Handler(_) => FailureClass::Handler,
            Self::Panicked => FailureClass::Panicked,
            Self::NotServed => FailureClass::NotFound,
            Self::Overloaded => FailureClass::Overloaded,
            Self::BadArguments(_) | Self::BadResult(_) | Self::ResultTooLarge { .. } => {
                FailureClass::Unreadable
            }
            Self::ShuttingDown => FailureClass::ShuttingDown,
            Self::DeadlineExceeded => FailureClass::Timeout,
            Self::Aborted => FailureClass::Stopped,
            Self::Denied => FailureClass::Denied,
        })
    }
}

/// Reads how often each class was met. A node of another version may know classes that this one
/// does not: where they have names they are left out.
pub(super) fn known_classes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<FailureClass, u64>, D::Error> {
    if !deserializer.is_human_readable() {
        return BTreeMap::deserialize(deserializer);
    }
    let by_name = BTreeMap::<String, u64>::deserialize(deserializer)?;
    let known = by_name.into_iter().filter_map(|(name, count)| {
        let name: StringDeserializer<Unnamed> = name.into_deserializer();
        Some((FailureClass::deserialize(name).ok()?, count))
    });
    Ok(known.collect())
}

/// A counter for each class.
#[derive(Debug, Default)]
pub(super) struct ByClass([AtomicU64; FailureClass::ALL.len()]);

impl ByClass {
    pub(super) fn add(&self, class: FailureClass) {
        self.0[class as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes over what another one has counted.
    pub(super) fn absorb(&self, other: &Self) {
        for (own, other) in self.0.iter().zip(&other.0) {
            own.fetch_add(other.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Those that were met, and how often.
    pub(super) fn stats(&self) -> BTreeMap<FailureClass, u64> {
        let counted = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        FailureClass::ALL
            .into_iter()
            .zip(counted)
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_counter_and_its_name() {
        let counters = ByClass::default();
        for (times, class) in FailureClass::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| counters.add(class));
        }
        let counted: Vec<_> = counters.stats().into_iter().collect();
        let expected: Vec<_> = FailureClass::ALL.into_iter().zip(1..).collect();
        assert_eq!(counted, expected);
        let names = serde_json::to_string(&FailureClass::ALL).unwrap();
        assert_eq!(
            names,
            r#"["handler","panicked","unreadable","timeout","stopped","overloaded","denied","#
                .to_owned()
                + r#""not_found","discovery","unreachable","interrupted","providers_failed","#
                + r#""out_of_budget","shutting_down","selector","given_up"]"#
        );
    }

    #[test]
    fn whoever_refuses_says_why_in_the_same_words() {
        let class = |refusal| AttemptOutcome::Refused(refusal).class();
        assert_eq!(
            class(Refusal::Overloaded),
            AttemptOutcome::Overloaded.class()
        );
        assert_eq!(
            class(Refusal::UnknownProtocol),
            AttemptOutcome::NotServed.class()
        );
        assert_eq!(
            class(Refusal::DeadlineExceeded),
            AttemptOutcome::TimedOut.class()
        );
        assert_eq!(
            class(Refusal::Leaving),
            AttemptOutcome::ShuttingDown.class()
        );
        assert_eq!(Status::Denied.class(), class(Refusal::Denied));
        assert_eq!(AttemptOutcome::Answered.class(), None);
    }
}
