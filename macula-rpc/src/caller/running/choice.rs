//! Whom a call goes to next: the selector's choice of those whose breakers admit it.

use super::{Begun, RunningCall};
use crate::failover::ejection;
use crate::health::AttemptUnderWay;
use crate::selector::Candidates;
use crate::{BreakerState, CallError, Candidate, Selection};

/// Who is tried next.
struct Chosen<'a> {
    /// Its place among the untried ones.
    index: usize,
    connected: bool,
    under_way: AttemptUnderWay<'a>,
}

/// What the selector chose although it is not there, of so many candidates.
struct NoChoice(Option<usize>, usize);

impl<'a> RunningCall<'a> {
    /// Chooses whom to try next, and begins with it.
    pub(super) fn choose(&mut self) -> Result<Begun<'a>, CallError> {
        let begun = self.select().and_then(|chosen| {
            let tried = self.plan.begin(self.now, chosen.index, chosen.connected);
            let under_way = Some(chosen.under_way);
            tried
                .map(|tried| Begun { tried, under_way })
                .ok_or(NoChoice(Some(chosen.index), self.plan.untried().len()))
        });
        begun.map_err(|NoChoice(chosen, candidates)| CallError::Selector {
            chosen,
            candidates,
            attempts: std::mem::take(&mut self.attempts),
        })
    }

    /// Has the selector choose one of those whose breakers admit an attempt.
    fn select(&self) -> Result<Chosen<'a>, NoChoice> {
        let mut candidates = Candidates::new();
        self.list(&mut candidates);
        ejection::leave_out(&mut candidates, self.plan.is_at_most_once());
        let (number, mut lost) = (self.plan.next_number(), 0);
        loop {
            let mut selection = Selection::new(&self.call.service, number, &candidates);
            selection.chosen_before += lost;
            let chosen = self.shared.selector.select(&selection);
            let Some((at, it)) = chosen.and_then(|at| Some((at, candidates.get(at)?))) else {
                return Err(NoChoice(chosen, candidates.len()));
            };
            // Nobody else is left, or too many would be left out.
            let forced = candidates.len() == 1 || it.health.breaker == BreakerState::Open;
            let node_id = it.provider.node_id();
            if let Some(under_way) = self.health.begin(self.now, node_id, forced) {
                return Ok(Chosen {
                    index: it.index,
                    connected: it.connected,
                    under_way: under_way.with_dial(!it.connected),
                });
            }
            // Another call has become the probe of its breaker in this moment.
            candidates.remove(at);
            lost += 1;
        }
    }

    /// Lists those that may be tried, and how they are doing: in its place, for it is long.
    fn list<'c>(&'c self, candidates: &mut Candidates<'c>) {
        for (index, provider) in self.plan.untried().enumerate() {
            let connected = self.shared.endpoint.is_connected(&provider.node_id());
            candidates.push(Candidate {
                index,
                ..Candidate::new(provider, connected)
            });
        }
        let at_most_once = self.plan.is_at_most_once();
        self.health.examine(self.now, candidates, at_most_once);
    }
}
