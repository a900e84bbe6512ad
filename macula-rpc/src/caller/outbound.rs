//! One call to other nodes: discovery, selection, attempts.

use std::sync::Arc;
use std::time::Duration;

use macula_core::{Metadata, NodeId, Provider};
use macula_registry::{ResolveError, ResolveOptions, Resolved, Source};
use macula_transport::{ProtocolId, Request};
use tokio::time::Instant;

use super::local::message_of;
use super::verdict::{Detail, Verdict};
use super::{Call, CallIdentity, CallTime, Reply, Shared};
use crate::failover::ejection::{self, Offered};
use crate::failover::{GiveUp, Plan, PlanConfig, Step, Try};
use crate::health::{AttemptUnderWay, ServiceHealth};
use crate::{Attempt, AttemptOutcome, CallError, Candidate, Part, Selection, Service};

/// What the registry answers.
pub(super) type Known = Result<Resolved<Service>, ResolveError>;

pub(super) struct OutboundCall<'a> {
    shared: &'a Shared,
    call: &'a Call,
    identity: CallIdentity,
    time: CallTime,
    plan: Plan,
    health: Arc<ServiceHealth>,
    /// Where the candidates came from.
    source: Source,
    attempts: Vec<Attempt>,
}

/// An attempt that begins.
struct Begun {
    tried: Try,
    /// Counts for its provider's health.
    under_way: Option<AttemptUnderWay>,
}

impl<'a> OutboundCall<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        call: &'a Call,
        identity: CallIdentity,
        time: CallTime,
    ) -> Self {
        let options = &call.options;
        let max_attempts = options.max_attempts.unwrap_or(shared.config.max_attempts);
        let plan = Plan::new(PlanConfig {
            deadline: time.deadline,
            max_attempts: max_attempts.get(),
            lookup_percent: shared.config.lookup_percent,
            delivery: options.delivery.unwrap_or_default(),
        });
        Self {
            shared,
            call,
            identity,
            time,
            plan,
            health: shared.health.of(time.started, &call.service),
            source: Source::Fresh,
            attempts: Vec::new(),
        }
    }

    /// Goes on where this node's own service turned the call away.
    pub(super) fn after(mut self, turned_away: Option<Attempt>) -> Self {
        self.attempts.extend(turned_away);
        self
    }

    /// Makes the call with what is `known` of the providers without asking the network.
    pub(super) async fn run(mut self, known: Option<Known>) -> Result<Reply, CallError> {
        self.discover(known).await?;
        loop {
            let now = Instant::now();
            let begun = match self.plan.next(now) {
                Step::TryConnected(_) | Step::Choose if !self.may_go_on(now) => {
                    return Err(self.out_of_budget());
                }
                // What a lookup would find could not be tried.
                Step::Refresh(_) if self.plan.next_number() > 1 && !self.shared.spending.has_left(now) => {
                    return Err(self.out_of_budget());
                }
                Step::TryConnected(node_id) => self.choose_connected(now, node_id),
                Step::Choose => self.choose(now)?,
                Step::Refresh(timeout) => {
                    self.refresh(timeout).await;
                    continue;
                }
                Step::GiveUp(reason) => return Err(self.give_up(reason)),
            };
            if let Some(outcome) = self.attempt(begun).await {
                return outcome;
            }
        }
    }

    /// Finds the first candidates: without a wait when they are cached.
    async fn discover(&mut self, known: Option<Known>) -> Result<(), CallError> {
        let force_refresh = self.call.options.force_refresh;
        if let Some(Ok(resolved)) = &known
            && self.offer_all(resolved)
        {
            return Ok(());
        }
        if !force_refresh && self.offer_pinned_connection() {
            return Ok(());
        }
        let found = match known {
            Some(Err(error)) => Err(error),
            _ => {
                let timeout = self.plan.lookup_timeout(Instant::now());
                self.resolve(timeout, force_refresh).await
            }
        };
        match found {
            Ok(resolved) => {
                self.offer_all(&resolved);
            }
            Err(error) if self.offer_pinned_connection() => {
                tracing::debug!(service = %self.call.service, %error, "not found, but connected");
            }
            // Then what this node's own service said stands.
            Err(_) if !self.attempts.is_empty() => {
                return Err(CallError::used_up(std::mem::take(&mut self.attempts)));
            }
            Err(ResolveError::NotFound) => return Err(CallError::ServiceNotFound),
            Err(error) => return Err(CallError::Discovery(error)),
        }
        if force_refresh {
            self.plan.forbid_refresh();
        }
        Ok(())
    }

    /// A pinned node that is connected needs no record, unless the call wants to read in it.
    fn offer_pinned_connection(&mut self) -> bool {
        let options = &self.call.options;
        let is_there = |id: &NodeId| {
            options.wanted.admits(id, &Metadata::new()) && self.shared.endpoint.is_connected(id)
        };
        let Some(node_id) = options.provider.filter(is_there) else {
            return false;
        };
        self.plan.offer_connected(node_id);
        self.source = Source::Direct;
        true
    }

    /// Looks again, because the candidates are used up.
    async fn refresh(&mut self, timeout: Duration) {
        self.plan.forbid_refresh();
        self.shared.counters.refreshed();
        match self.resolve(timeout, true).await {
            Ok(resolved) => {
                self.offer_all(&resolved);
                self.repair(&resolved);
            }
            Err(error) => {
                tracing::debug!(service = %self.call.service, %error, "no newer providers");
            }
        }
    }

    async fn resolve(&self, timeout: Duration, force_refresh: bool) -> Known {
        let options = ResolveOptions {
            timeout,
            skip_local: true,
            force_refresh,
            cache_ttl: self.call.options.cache_ttl,
        };
        self.shared
            .registry
            .resolve(&self.call.service, &options)
            .await
    }

    /// Takes the providers into consideration; says whether any may be tried.
    fn offer_all(&mut self, resolved: &Resolved<Service>) -> bool {
        self.source = resolved.source();
        for provider in resolved.providers() {
            if self.is_wanted(provider) {
                let connected = self.shared.endpoint.is_connected(&provider.node_id());
                self.plan.offer(Candidate::new(provider.clone(), connected));
            }
        }
        !self.plan.untried().is_empty()
    }

    /// This node itself was asked before; a record of its own is an old one.
    fn is_wanted(&self, provider: &Provider) -> bool {
        let node_id = provider.node_id();
        let options = &self.call.options;
        let is_meant = options.provider.is_none_or(|pinned| node_id == pinned);
        is_meant
            && node_id != self.shared.endpoint.node_id()
            && options.wanted.admits(&node_id, provider.metadata())
    }

    /// Takes those out of a new answer that have just proved dead under the same record.
    fn repair(&self, resolved: &Resolved<Service>) {
        let untried = self.plan.untried();
        for provider in resolved.providers() {
            let node_id = provider.node_id();
            let is_dead =
                |attempt: &Attempt| attempt.provider == node_id && attempt.outcome.is_dead_end();
            let is_new = untried.iter().any(|c| c.provider.node_id() == node_id);
            if !is_new && self.attempts.iter().any(is_dead) {
                self.shared
                    .registry
                    .remove_provider(&self.call.service, &node_id);
            }
        }
    }

    /// Whether one more attempt is within the budget that all calls share; the first one always is.
    fn may_go_on(&self, now: Instant) -> bool {
        self.plan.next_number() == 1 || self.shared.spending.retry(now)
    }

    fn out_of_budget(self) -> CallError {
        self.shared.counters.out_of_budget();
        let attempts = self.attempts;
        CallError::RetryBudgetExhausted { attempts }
    }

    /// A connection that stands is used whatever became of the attempts before.
    fn choose_connected(&mut self, now: Instant, node_id: NodeId) -> Begun {
        Begun {
            tried: self.plan.begin_connected(now, node_id),
            under_way: self.health.begin(now, node_id, true),
        }
    }

    fn choose(&mut self, now: Instant) -> Result<Begun, CallError> {
        self.health.examine(now, self.plan.untried_mut());
        let mut offered = ejection::offered(self.plan.untried());
        loop {
            let position = self.select(&offered)?;
            let Offered { index, forced } = offered[position];
            // Another call may have become the probe of its breaker in this moment.
            let is_last = offered.len() == 1;
            let node_id = self.plan.untried()[index].provider.node_id();
            let Some(under_way) = self.health.begin(now, node_id, forced || is_last) else {
                offered.remove(position);
                continue;
            };
            let is_connected = self.shared.endpoint.is_connected(&node_id);
            return match self.plan.begin(now, index) {
                Some(tried) => Ok(Begun {
                    tried,
                    under_way: Some(under_way.with_dial(!is_connected)),
                }),
                None => Err(self.no_choice(Some(position), offered.len())),
            };
        }
    }

    /// The position of the selector's choice in what is offered.
    fn select(&mut self, offered: &[Offered]) -> Result<usize, CallError> {
        let all = self.plan.untried();
        let some: Vec<Candidate>;
        let candidates = if offered.len() == all.len() {
            all
        } else {
            some = offered.iter().map(|it| all[it.index].clone()).collect();
            &some
        };
        let number = self.plan.next_number();
        let selection = Selection::new(&self.call.service, number, candidates);
        let chosen = self.shared.selector.select(&selection);
        chosen
            .filter(|position| *position < offered.len())
            .ok_or_else(|| self.no_choice(chosen, offered.len()))
    }

    fn no_choice(&mut self, chosen: Option<usize>, candidates: usize) -> CallError {
        CallError::Selector {
            chosen,
            candidates,
            attempts: std::mem::take(&mut self.attempts),
        }
    }

    /// Makes one attempt; `None` when the call goes on.
    async fn attempt(&mut self, begun: Begun) -> Option<Result<Reply, CallError>> {
        let Begun { tried, under_way } = begun;
        self.shared.counters.attempt(tried.number);
        let Ok(body) = message_of(self.call, self.identity, tried.number).encode() else {
            return Some(Err(CallError::Codec {
                part: Part::Arguments,
                reason: "header cannot be encoded".to_owned(),
                attempts: std::mem::take(&mut self.attempts),
            }));
        };
        let request = Request {
            protocol: ProtocolId::RPC,
            timeout: tried.timeout,
            body,
        };
        let started = Instant::now();
        let contact = tried.target.contact();
        let answer = self.shared.endpoint.request(&contact, request).await;
        let verdict = Verdict::of_answer(answer);
        let forced = under_way.as_ref().is_some_and(AttemptUnderWay::is_forced);
        if let Some(under_way) = under_way {
            under_way.ended(verdict.outcome.condition(verdict.executed));
        }
        self.attempts.push(Attempt {
            provider: contact.node_id,
            outcome: verdict.outcome.clone(),
            executed: verdict.executed,
            elapsed: started.elapsed(),
            forced,
        });
        if verdict.outcome.is_final() {
            return Some(self.conclude(contact.node_id, verdict.detail));
        }
        self.fail(tried, &verdict);
        None
    }

    fn conclude(&mut self, provider: NodeId, detail: Detail) -> Result<Reply, CallError> {
        let answer = detail.conclude(std::mem::take(&mut self.attempts))?;
        Ok(Reply {
            body: answer.body,
            codec: answer.codec,
            provider,
            source: self.source,
            attempts: answer.attempts,
            elapsed: self.time.started.elapsed(),
        })
    }

    fn fail(&mut self, tried: Try, verdict: &Verdict) {
        let provider = tried.target.node_id();
        tracing::debug!(
            service = %self.call.service,
            provider = %provider.short(),
            attempt = tried.number,
            outcome = %verdict.outcome,
            executed = ?verdict.executed,
            "attempt failed"
        );
        let timed_out = verdict.outcome == AttemptOutcome::TimedOut;
        // One that is slow stands back for others, but is there.
        let is_slow = timed_out && self.shared.endpoint.is_connected(&provider);
        if verdict.outcome.is_dead_end() && !is_slow {
            self.shared
                .registry
                .remove_provider(&self.call.service, &provider);
        }
        self.plan.failed(tried, verdict.executed, timed_out);
    }

    fn give_up(self, reason: GiveUp) -> CallError {
        let attempts = self.attempts;
        match reason {
            GiveUp::OutOfTime => CallError::Timeout { attempts },
            GiveUp::PerhapsExecuted => CallError::perhaps_executed(attempts),
            GiveUp::AttemptsSpent => CallError::MaxAttemptsExceeded { attempts },
            GiveUp::UsedUp if attempts.is_empty() => CallError::ServiceNotFound,
            GiveUp::UsedUp => CallError::used_up(attempts),
        }
    }
}
