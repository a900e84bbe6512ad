//! Which provider a call goes to: the [`ProviderSelector`] trait and the strategies shipped.

use macula_core::{Provider, ServiceName};
use smallvec::SmallVec;

use crate::ProviderHealth;

mod draws;
mod first;
mod least_latency;
mod random;
mod round_robin;

pub use first::First;
pub use least_latency::LeastLatency;
pub use random::Random;
pub use round_robin::{MAX_COUNTED_SERVICES, RoundRobin};

/// Chooses one of the providers that a call may go to.
///
/// Called once per attempt, on the caller's task: it should be quick and must not block. An index
/// out of range, or none while there are candidates, fails the call with
/// [`CallError::Selector`](crate::CallError::Selector).
pub trait ProviderSelector: Send + Sync + 'static {
    /// The index of the chosen one in `selection.candidates`; `None` when there is none to choose.
    fn select(&self, selection: &Selection<'_>) -> Option<usize>;
}

/// What a selector chooses from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Selection<'a> {
    /// The name that is called.
    pub service: &'a ServiceName,
    /// Which attempt of the call this is, counted from one.
    pub attempt: u8,
    /// How many candidates were chosen for this call before: they were tried, or another call had
    /// just begun to find out whether they are well again. They are not among these.
    pub chosen_before: usize,
    /// The providers that were not tried yet, in the order of discovery.
    pub candidates: &'a [Candidate<'a>],
}

impl<'a> Selection<'a> {
    /// Brings together what a selector is asked about; every attempt before chose one candidate.
    pub fn new(service: &'a ServiceName, attempt: u8, candidates: &'a [Candidate<'a>]) -> Self {
        Self {
            service,
            attempt,
            chosen_before: usize::from(attempt.saturating_sub(1)),
            candidates,
        }
    }
}

/// A provider considered for one call.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// What it claims.
    pub provider: &'a Provider,
    /// Whether this node has a connection to it.
    pub connected: bool,
    /// How it is doing, as far as this node has called it.
    pub health: ProviderHealth,
    /// Its place among all that were not tried yet.
    pub(crate) index: usize,
}

/// Those of one call. Few are there without an allocation.
pub(crate) type Candidates<'a> = SmallVec<[Candidate<'a>; 4]>;

impl<'a> Candidate<'a> {
    /// A candidate of whose health nothing is known.
    pub fn new(provider: &'a Provider, connected: bool) -> Self {
        Self {
            provider,
            connected,
            health: ProviderHealth::default(),
            index: 0,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
