//! One call: at this node if it provides the service, else discovery, selection, attempts.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, Delivery, Metadata, NodeId, Provider};
use macula_registry::{MAX_WANTED, ResolveError, ResolveOptions, Resolved, Source};
use macula_transport::{ProtocolId, Request, RequestError};
use tokio::time::Instant;
use tracing::Span;

use super::verdict::{Detail, Verdict};
use super::{Call, CallIdentity, CallTime, Reply, Shared};
use crate::failover::{GiveUp, Plan, PlanConfig, Step, Try};
use crate::health::{AttemptUnderWay, ServiceHealth};
use crate::message::CallHeader;
use crate::server::Serving;
use crate::{Attempt, AttemptOutcome, CallError, Part, Service, scope};

mod choice;
mod local;

/// What the registry answers.
pub(super) type Known = Result<Resolved<Service>, ResolveError>;

/// Where a call has come to.
pub(super) struct RunningCall<'a> {
    shared: &'a Shared,
    call: &'a Call,
    health: &'a ServiceHealth,
    identity: CallIdentity,
    time: CallTime,
    /// When the clock was read last: after whatever was waited for.
    now: Instant,
    plan: Plan,
    /// Where the candidates came from.
    source: Source,
    attempts: Vec<Attempt>,
}

/// An attempt that begins.
struct Begun<'a> {
    tried: Try,
    /// Counts for its provider's health.
    under_way: Option<AttemptUnderWay<'a>>,
}

impl<'a> RunningCall<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        call: &'a Call,
        health: &'a ServiceHealth,
        identity: CallIdentity,
        time: CallTime,
    ) -> Self {
        let options = &call.options;
        let max_attempts = options.max_attempts.unwrap_or(shared.config.max_attempts);
        let plan = Plan::new(PlanConfig {
            deadline: time.deadline,
            max_attempts: max_attempts.get(),
            lookup_percent: shared.config.lookup_percent,
            delivery: match scope::is_repetition() {
                true => Delivery::AtMostOnce,
                false => options.delivery.unwrap_or_default(),
            },
        });
        Self {
            shared,
            call,
            health,
            identity,
            time,
            now: time.started,
            plan,
            source: Source::Fresh,
            attempts: Vec::new(),
        }
    }

    /// The call's own span.
    pub(super) fn span(&self) -> Span {
        self.identity.span(&self.call.service)
    }

    /// Makes the call here if this node provides the service, else at one of its providers.
    ///
    /// What most calls do not need is boxed: they would carry room for it, and be copied with it.
    pub(super) async fn run(&mut self) -> Result<Reply, CallError> {
        self.check_len()?;
        let mut known = self.shared.known(self.call);
        if self.is_local(known.as_ref()) {
            let reply = match self.serve_locally() {
                Serving::Ended(reply) => reply,
                Serving::Waits(handling) => handling.await,
            };
            if let Some(outcome) = self.served_locally(reply) {
                return outcome;
            }
            known = None;
        }
        self.shared.spending.call(self.time.started);
        if !matches!(&known, Some(Ok(resolved)) if self.offer(resolved)) {
            Box::pin(self.discover(known)).await?;
        }
        loop {
            if let Some(timeout) = self.refresh_due()? {
                Box::pin(self.refresh(timeout)).await;
            }
            let begun = self.begin()?;
            let request = self.request(&begun.tried)?;
            let endpoint = &self.shared.endpoint;
            let answer = endpoint.request(&begun.tried.contact, request).await;
            if let Some(outcome) = self.answered(begun, answer) {
                return outcome;
            }
        }
    }

    fn check_len(&self) -> Result<(), CallError> {
        let limit_bytes = self.shared.config.max_body_bytes.get();
        if self.call.body.len() <= limit_bytes {
            return Ok(());
        }
        Err(CallError::TooLarge {
            part: Part::Arguments,
            limit_bytes: limit_bytes as u64,
            attempts: Vec::new(),
        })
    }

    /// Whether to look the service up again now, and for how long at most.
    fn refresh_due(&mut self) -> Result<Option<Duration>, CallError> {
        match self.plan.next(self.now) {
            // What it would find could not be tried.
            Step::Refresh(_) if !self.could_go_on() => Err(self.out_of_budget()),
            Step::Refresh(timeout) => Ok(Some(timeout)),
            _ => Ok(None),
        }
    }

    /// Begins the next attempt, or ends the call.
    fn begin(&mut self) -> Result<Begun<'a>, CallError> {
        match self.plan.next(self.now) {
            Step::TryNode(_) | Step::Choose if !self.may_go_on() => Err(self.out_of_budget()),
            Step::TryNode(node_id) => Ok(self.choose_node(node_id)),
            Step::Choose => self.choose(),
            Step::GiveUp(reason) => Err(self.give_up(reason)),
            // It was, and no call does so twice.
            Step::Refresh(_) => Err(self.give_up(GiveUp::UsedUp)),
        }
    }

    /// Finds the first candidates where what is known names nobody who is wanted.
    async fn discover(&mut self, known: Option<Known>) -> Result<(), CallError> {
        let force_refresh = self.call.options.force_refresh;
        let found = match known {
            // A newer answer may.
            Some(Ok(_)) => {
                self.offer_pinned_node().await;
                return Ok(());
            }
            _ if !force_refresh && self.offer_pinned_connection() => return Ok(()),
            // Every node answers it, and nobody keeps a record of that.
            _ if self.call.service.is_system() => {
                self.plan.forbid_refresh();
                Err(ResolveError::NotFound)
            }
            Some(Err(error)) => Err(error),
            None => {
                let timeout = self.plan.lookup_timeout(self.now);
                self.resolve(timeout, force_refresh, None).await
            }
        };
        let (is_offered, in_vain) = match found {
            Ok(resolved) => (self.offer(&resolved), None),
            Err(error) => (false, Some(error)),
        };
        let is_offered = is_offered || self.offer_pinned_node().await;
        if let Some(error) = in_vain.filter(|_| !is_offered) {
            return Err(self.undiscovered(error));
        }
        if force_refresh {
            self.plan.forbid_refresh();
        }
        Ok(())
    }

    fn undiscovered(&mut self, error: ResolveError) -> CallError {
        if !self.attempts.is_empty() {
            // Then what this node's own service said stands.
            return CallError::used_up(std::mem::take(&mut self.attempts));
        }
        match error {
            ResolveError::NotFound => CallError::ServiceNotFound,
            error => CallError::Discovery(error),
        }
    }

    /// A pinned node that is connected needs no record.
    fn offer_pinned_connection(&mut self) -> bool {
        let is_connected = |id: &NodeId| self.shared.endpoint.is_connected(id);
        let Some(node_id) = self.pinned_without_record().filter(is_connected) else {
            return false;
        };
        self.plan.offer_node(Contact::new(node_id, []));
        self.source = Source::Direct;
        true
    }

    /// Nor does one that the network knows by its id.
    async fn offer_pinned_node(&mut self) -> bool {
        if self.offer_pinned_connection() {
            return true;
        }
        let Some(node_id) = self.pinned_without_record() else {
            return false;
        };
        let timeout = self.plan.lookup_timeout(self.now);
        let located = self.shared.registry.locate(node_id, timeout).await;
        self.now = Instant::now();
        let Ok(contact) = located else {
            return false;
        };
        self.plan.offer_node(contact);
        self.source = Source::Dht;
        true
    }

    /// The other node that the call is pinned to, unless the call wants to read in its record.
    fn pinned_without_record(&self) -> Option<NodeId> {
        let (options, own_id) = (&self.call.options, self.shared.endpoint.node_id());
        let is_admitted = |id: &NodeId| options.wanted.admits(id, &Metadata::new());
        let pinned = options.provider.filter(|id| *id != own_id);
        pinned.filter(is_admitted)
    }

    /// Looks again, because the candidates are used up.
    async fn refresh(&mut self, timeout: Duration) {
        self.plan.forbid_refresh();
        let (looked, service) = (&self.health.looked, &self.call.service);
        // There were none, for nobody who is known is wanted.
        let is_for_wanted = self.plan.next_number() == 1;
        if is_for_wanted && looked.lately(self.now, service) {
            return;
        }
        self.shared.counters.refreshed();
        // Those who are wanted may be beyond the first ones of many.
        let want = is_for_wanted.then_some(MAX_WANTED);
        match self.resolve(timeout, true, want).await {
            Ok(resolved) => {
                if is_for_wanted {
                    // Not before there is an answer: until then others wait for it too.
                    looked.note(self.now, service);
                }
                self.offer(&resolved);
                self.repair(resolved.providers());
            }
            Err(error) => {
                tracing::debug!(service = %self.call.service, %error, "no newer providers");
            }
        }
    }

    async fn resolve(
        &mut self,
        timeout: Duration,
        force_refresh: bool,
        want: Option<NonZeroUsize>,
    ) -> Known {
        let options = ResolveOptions {
            timeout,
            skip_local: true,
            force_refresh,
            cache_ttl: self.call.options.cache_ttl,
            want,
        };
        let registry = &self.shared.registry;
        // Boxed, for most calls do not need it and would carry room for it.
        let known = Box::pin(registry.resolve(&self.call.service, &options)).await;
        self.now = Instant::now();
        known
    }

    /// Takes the providers into consideration; says whether any may be tried.
    fn offer(&mut self, resolved: &Resolved<Service>) -> bool {
        self.source = resolved.source();
        let Some(found) = elsewhere(resolved) else {
            return false;
        };
        let (shared, call) = (self.shared, self.call);
        self.plan
            .offer(Arc::clone(found), |it| is_wanted(shared, call, it))
    }

    /// Takes those out of a new answer that have just proved dead under the same record.
    fn repair(&self, found: &[Provider]) {
        for node_id in found.iter().map(Provider::node_id) {
            let is_dead =
                |attempt: &Attempt| attempt.provider == node_id && attempt.outcome.is_dead_end();
            let is_new = self.plan.untried().any(|it| it.node_id() == node_id);
            if !is_new && self.attempts.iter().any(is_dead) {
                self.shared
                    .registry
                    .remove_provider(&self.call.service, &node_id);
            }
        }
    }

    /// Takes leave for one more attempt from the budget that all calls share; the first one needs
    /// none.
    fn may_go_on(&self) -> bool {
        self.plan.next_number() == 1 || self.shared.spending.retry(self.now)
    }

    /// Whether there would be leave for one more attempt.
    fn could_go_on(&self) -> bool {
        self.plan.next_number() == 1 || self.shared.spending.has_left(self.now)
    }

    fn out_of_budget(&mut self) -> CallError {
        self.shared.counters.out_of_budget();
        let attempts = std::mem::take(&mut self.attempts);
        CallError::RetryBudgetExhausted { attempts }
    }

    /// The node that the call is pinned to is tried whatever became of the attempts before.
    fn choose_node(&mut self, node_id: NodeId) -> Begun<'a> {
        let connected = self.shared.endpoint.is_connected(&node_id);
        let under_way = self.health.begin(self.now, node_id, true);
        Begun {
            tried: self.plan.begin_node(self.now, node_id),
            under_way: under_way.map(|it| it.with_dial(!connected)),
        }
    }

    /// What is sent in an attempt.
    fn request(&mut self, tried: &Try) -> Result<Request, CallError> {
        self.health.meter.attempt(tried.number);
        let header = header_of(self.call, self.identity, tried.number);
        let body = header
            .encode(&self.call.body)
            .map_err(|_| CallError::Codec {
                part: Part::Arguments,
                reason: "header cannot be encoded".to_owned(),
                attempts: std::mem::take(&mut self.attempts),
            })?;
        Ok(Request {
            protocol: ProtocolId::RPC,
            timeout: tried.timeout,
            body,
        })
    }

    /// Learns what became of an attempt; `None` when the call goes on.
    fn answered(
        &mut self,
        begun: Begun<'a>,
        answer: Result<Bytes, RequestError>,
    ) -> Option<Result<Reply, CallError>> {
        let Begun { tried, under_way } = begun;
        // Nothing was waited for since the attempt began.
        let began = std::mem::replace(&mut self.now, Instant::now());
        let Verdict {
            outcome,
            executed,
            detail,
        } = Verdict::of_answer(answer);
        self.health.meter.attempted(&outcome);
        let forced = under_way.as_ref().is_some_and(AttemptUnderWay::is_forced);
        if let Some(under_way) = under_way {
            under_way.ended(self.now, outcome.condition(executed));
        }
        let provider = tried.contact.node_id;
        let attempt = Attempt {
            provider,
            outcome,
            executed,
            elapsed: self.now.saturating_duration_since(began),
            forced,
        };
        let is_final = attempt.outcome.is_final();
        if !is_final {
            self.fail(tried, &attempt);
        }
        // Most calls need no more than one.
        self.attempts.reserve_exact(1);
        self.attempts.push(attempt);
        is_final.then(|| self.conclude(provider, detail))
    }

    fn conclude(&mut self, provider: NodeId, detail: Detail) -> Result<Reply, CallError> {
        let answer = detail.conclude(std::mem::take(&mut self.attempts))?;
        Ok(Reply {
            body: answer.body,
            codec: answer.codec,
            provider,
            source: self.source,
            attempts: answer.attempts,
            elapsed: self.now.saturating_duration_since(self.time.started),
        })
    }

    fn fail(&mut self, tried: Try, attempt: &Attempt) {
        let Attempt {
            provider,
            outcome,
            executed,
            ..
        } = attempt;
        tracing::debug!(
            service = %self.call.service,
            provider = %provider.short(),
            attempt = tried.number,
            %outcome,
            ?executed,
            "attempt failed"
        );
        let timed_out = *outcome == AttemptOutcome::TimedOut;
        // One that is slow stands back for others, but is there.
        let is_slow = timed_out && self.shared.endpoint.is_connected(provider);
        if outcome.is_dead_end() && !is_slow {
            self.shared
                .registry
                .remove_provider(&self.call.service, provider);
        }
        self.plan.failed(tried, *executed, timed_out);
    }

    fn give_up(&mut self, reason: GiveUp) -> CallError {
        let attempts = std::mem::take(&mut self.attempts);
        match reason {
            GiveUp::OutOfTime => CallError::Timeout { attempts },
            GiveUp::PerhapsExecuted => CallError::perhaps_executed(attempts),
            GiveUp::AttemptsSpent => CallError::MaxAttemptsExceeded { attempts },
            GiveUp::UsedUp if attempts.is_empty() => CallError::ServiceNotFound,
            GiveUp::UsedUp => CallError::used_up(attempts),
        }
    }
}

/// This node itself was asked before; a record of its own is an old one.
fn is_wanted(shared: &Shared, call: &Call, provider: &Provider) -> bool {
    let node_id = provider.node_id();
    let options = &call.options;
    let is_meant = options.provider.is_none_or(|pinned| node_id == pinned);
    is_meant
        && node_id != shared.endpoint.node_id()
        && options.wanted.admits(&node_id, provider.metadata())
}

/// The other nodes that were found.
fn elsewhere(resolved: &Resolved<Service>) -> Option<&Arc<[Provider]>> {
    match resolved {
        Resolved::Local(_) => None,
        Resolved::Fresh(found)
        | Resolved::Stale(found)
        | Resolved::Dht(found)
        | Resolved::Direct(found) => Some(found),
    }
}

/// What the provider gets to see of an attempt.
fn header_of(call: &Call, identity: CallIdentity, attempt: u8) -> CallHeader<'_> {
    CallHeader {
        call_id: identity.id,
        attempt,
        codec: call.codec.id(),
        delivery: call.options.delivery.unwrap_or(Delivery::AtLeastOnce),
        service: call.service.as_str(),
        trace: identity.trace(),
        headers: Cow::Borrowed(&call.options.headers),
        extensions: macula_core::Extensions::default(),
    }
}
