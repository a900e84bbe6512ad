//! The plan of one call: whom to try next, for how long, and when to stop.
//!
//! Pure: no clock, no I/O. The caller asks [`Plan::next`] what to do, does it, and tells the plan
//! how it went.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use macula_core::{Contact, Delivery, NodeId, Provider};
use macula_transport::Executed;
use smallvec::SmallVec;
use tokio::time::Instant;

pub(crate) mod ejection;

/// What a plan goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanConfig {
    pub(crate) deadline: Instant,
    pub(crate) max_attempts: u8,
    pub(crate) lookup_percent: u8,
    /// The call's own wish; a record may be stricter.
    pub(crate) delivery: Delivery,
}

/// Whom to try, and what was tried.
///
/// Invariant: no node is `untried` that was tried, unless all its attempts were not executed and
/// its record names an address that none of them had.
#[derive(Debug)]
pub(crate) struct Plan {
    config: PlanConfig,
    /// A node to try without knowing a record of it.
    node: Option<Contact>,
    /// What was found last; all calls that found the same share it.
    found: Option<Arc<[Provider]>>,
    /// Which of those that were found may be tried. Few are there without an allocation.
    untried: SmallVec<[u16; 8]>,
    failed: Vec<Failed>,
    made: u8,
    at_most_once: bool,
    may_refresh: bool,
    out_of_time: bool,
}

#[derive(Debug)]
struct Failed {
    contact: Contact,
    executed: Executed,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Try the node of which no record is known.
    TryNode(NodeId),
    /// Choose one of the untried candidates and try it.
    Choose,
    /// Look the service up again, for at most so long.
    Refresh(Duration),
    /// Tell the caller.
    GiveUp(GiveUp),
}

/// Why nothing more is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// The deadline has come.
    OutOfTime,
    /// The call may run only once, and perhaps it has.
    PerhapsExecuted,
    /// As many attempts were made as allowed, and there are more candidates.
    AttemptsSpent,
    /// No candidate is left.
    UsedUp,
}

/// One try: whom, and how long it may take, its dial included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Try {
    /// Without addresses when no record of it is known and it was connected when it was offered.
    pub(crate) contact: Contact,
    /// Counted from one.
    pub(crate) number: u8,
    pub(crate) timeout: Duration,
    /// Whether `timeout` is all the time there was.
    takes_all: bool,
}

impl Plan {
    pub(crate) fn new(config: PlanConfig) -> Self {
        Self {
            node: None,
            found: None,
            untried: SmallVec::new(),
            failed: Vec::new(),
            made: 0,
            at_most_once: config.delivery == Delivery::AtMostOnce,
            may_refresh: true,
            out_of_time: false,
            config,
        }
    }

    /// How long a lookup may take that starts now.
    pub(crate) fn lookup_timeout(&self, now: Instant) -> Duration {
        self.remaining(now) * u32::from(self.config.lookup_percent) / 100
    }

    /// There will be no refresh: what is known is as new as it gets.
    pub(crate) fn forbid_refresh(&mut self) {
        self.may_refresh = false;
    }

    /// Takes a node of which no record is known; one that is connected needs no address.
    pub(crate) fn offer_node(&mut self, contact: Contact) {
        self.node = Some(contact);
    }

    /// Takes the wanted ones of those that were found into consideration, the first
    /// [`MAX_CANDIDATES`] of them, in place of all found before; says whether any may be tried.
    pub(crate) fn offer(
        &mut self,
        found: Arc<[Provider]>,
        is_wanted: impl Fn(&Provider) -> bool,
    ) -> bool {
        self.untried.clear();
        self.untried.reserve(found.len().min(MAX_CANDIDATES));
        let wanted = (0..).zip(&*found).filter(|(_, it)| is_wanted(it));
        for (index, provider) in wanted.take(MAX_CANDIDATES) {
            self.at_most_once |= provider.delivery() == Delivery::AtMostOnce;
            if self.may_try(provider) {
                self.untried.push(index);
            }
        }
        self.found = Some(found);
        !self.untried.is_empty()
    }

    /// The providers to choose from, in the order they were found.
    pub(crate) fn untried(&self) -> impl ExactSizeIterator<Item = &Provider> {
        let found = self.found.as_deref().unwrap_or_default();
        self.untried.iter().map(|index| &found[usize::from(*index)])
    }

    /// Whether what may have run is not repeated: the call, or a record of the service, says so.
    pub(crate) fn is_at_most_once(&self) -> bool {
        self.at_most_once
    }

    /// Which attempt the next one is, counted from one.
    pub(crate) fn next_number(&self) -> u8 {
        self.made.saturating_add(1)
    }

    /// What to do now.
    pub(crate) fn next(&self, now: Instant) -> Step {
        if self.at_most_once && self.perhaps_executed() {
            return Step::GiveUp(GiveUp::PerhapsExecuted);
        }
        if self.out_of_time || now >= self.config.deadline {
            return Step::GiveUp(GiveUp::OutOfTime);
        }
        if self.made >= self.config.max_attempts {
            return Step::GiveUp(match self.untried.is_empty() {
                true => GiveUp::UsedUp,
                false => GiveUp::AttemptsSpent,
            });
        }
        if let Some(contact) = &self.node {
            return Step::TryNode(contact.node_id);
        }
        match (self.untried.is_empty(), self.may_refresh) {
            (false, _) => Step::Choose,
            (true, true) => Step::Refresh(self.lookup_timeout(now)),
            (true, false) => Step::GiveUp(GiveUp::UsedUp),
        }
    }

    /// Begins the attempt at the untried provider with this index, which is connected or not;
    /// `None` when there is none.
    pub(crate) fn begin(&mut self, now: Instant, index: usize, connected: bool) -> Option<Try> {
        let contact = self.untried().nth(index)?.contact();
        let candidates_left = match connected && self.at_most_once {
            // Whatever takes its time there may have run, and is the last attempt.
            true => 1,
            false => self.untried.len(),
        };
        self.untried.remove(index);
        Some(self.begin_at(now, contact, candidates_left))
    }

    /// Begins the attempt at the node of which no record is known.
    pub(crate) fn begin_node(&mut self, now: Instant, node_id: NodeId) -> Try {
        let contact = self.node.take();
        let contact = contact.unwrap_or_else(|| Contact::new(node_id, []));
        // The call is pinned to it: no other candidate waits for a share of the time.
        self.begin_at(now, contact, 1)
    }

    fn begin_at(&mut self, now: Instant, contact: Contact, candidates_left: usize) -> Try {
        let allowed = self.config.max_attempts.saturating_sub(self.made).max(1);
        let attempts_left = candidates_left.clamp(1, usize::from(allowed));
        let attempts_left = u32::try_from(attempts_left).unwrap_or(u32::MAX);
        self.made = self.next_number();
        Try {
            contact,
            number: self.made,
            timeout: share(self.remaining(now), attempts_left),
            takes_all: attempts_left == 1,
        }
    }

    /// Learns that an attempt did not end the call.
    pub(crate) fn failed(&mut self, tried: Try, executed: Executed, timed_out: bool) {
        // The peer's clock may end the attempt a moment before ours does: still the deadline.
        self.out_of_time |= timed_out && tried.takes_all;
        let found = self.found.as_deref().unwrap_or_default();
        // An answer should name nobody twice, but whoever gave it may be wrong.
        self.untried
            .retain(|index| found[usize::from(*index)].node_id() != tried.contact.node_id);
        self.failed.push(Failed {
            contact: tried.contact,
            executed,
        });
    }

    fn perhaps_executed(&self) -> bool {
        self.failed
            .iter()
            .any(|failed| failed.executed != Executed::No)
    }

    /// Whether a provider was not tried yet, or may be again.
    fn may_try(&self, provider: &Provider) -> bool {
        let node_id = provider.node_id();
        let tried = || {
            self.failed
                .iter()
                .filter(|it| it.contact.node_id == node_id)
        };
        let is_new =
            |address: &SocketAddr| tried().all(|it| !it.contact.addresses.contains(address));
        let is_elsewhere = || {
            tried().all(|failed| failed.executed == Executed::No)
                && provider.addresses().iter().any(is_new)
        };
        let is_offered = |contact: &Contact| contact.node_id == node_id;
        !self.node.as_ref().is_some_and(is_offered) && (tried().next().is_none() || is_elsewhere())
    }

    fn remaining(&self, now: Instant) -> Duration {
        self.config.deadline.saturating_duration_since(now)
    }
}

/// How long the first of so many attempts may take. It ends a little early, for whatever ends it
/// notices late, and that is time of those after it.
fn share(remaining: Duration, attempts_left: u32) -> Duration {
    let share = remaining / attempts_left;
    match attempts_left {
        1 => share,
        _ => share - TIMER.min(share / 10),
    }
}

/// What tokio's timer may be late by: it counts whole milliseconds.
const TIMER: Duration = Duration::from_millis(1);

/// The most providers that one call chooses from.
const MAX_CANDIDATES: usize = 64;

#[cfg(test)]
mod tests;
