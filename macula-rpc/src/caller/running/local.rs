//! Calls to services of this node itself: the server's own path, without the network.

use std::borrow::Cow;

use macula_core::Delivery;
use macula_registry::Source;
use tokio::time::Instant;

use super::verdict::Verdict;
use super::{Call, CallIdentity, CallTime, Reply, Shared};
use crate::message::CallHeader;
use crate::metrics::Called;
use crate::server::Incoming;
use crate::{Attempt, AttemptOutcome, CallError};

/// What became of a call at this node.
pub(super) enum Local {
    /// It is over.
    Ended(Result<Reply, CallError>),
    /// It was not carried out, and another provider may do so: the service is not provided any
    /// more, or turned the call away in this attempt.
    TurnedAway(Option<Attempt>),
}

impl Shared {
    /// Makes the call here.
    pub(super) async fn run_local(
        &self,
        call: &Call,
        called: &Called,
        identity: CallIdentity,
        time: CallTime,
    ) -> Local {
        let incoming = Incoming {
            caller: self.endpoint.node_id(),
            header: header_of(call, identity, 1),
            body: call.body.clone(),
            arrived: time.started,
            deadline: time.deadline,
        };
        let reply = self.server.serve_local(incoming).await;
        let verdict = Verdict::of_reply(reply);
        if verdict.outcome == AttemptOutcome::NotServed {
            return Local::TurnedAway(None);
        }
        called.local();
        let attempt = Attempt {
            provider: self.endpoint.node_id(),
            outcome: verdict.outcome.clone(),
            executed: verdict.executed,
            elapsed: time.started.elapsed(),
            forced: false,
        };
        // One that is pinned to this node may go to no other.
        let may_go_on = call.options.provider.is_none();
        if may_go_on && (attempt.outcome.is_overload() || attempt.outcome.is_denial()) {
            return Local::TurnedAway(Some(attempt));
        }
        Local::Ended(conclude(verdict, attempt, time))
    }
}

fn conclude(verdict: Verdict, attempt: Attempt, time: CallTime) -> Result<Reply, CallError> {
    let provider = attempt.provider;
    let attempts = vec![attempt];
    if !verdict.outcome.is_final() {
        return Err(match verdict.outcome {
            AttemptOutcome::ShuttingDown => CallError::ShuttingDown { attempts },
            AttemptOutcome::TimedOut | AttemptOutcome::Aborted => {
                CallError::perhaps_executed(attempts)
            }
            _ => CallError::used_up(attempts),
        });
    }
    let answer = verdict.detail.conclude(attempts)?;
    Ok(Reply {
        body: answer.body,
        codec: answer.codec,
        provider,
        source: Source::Local,
        attempts: answer.attempts,
        elapsed: Instant::now().saturating_duration_since(time.started),
    })
}

/// What the provider gets to see of an attempt.
pub(super) fn header_of(call: &Call, identity: CallIdentity, attempt: u8) -> CallHeader<'_> {
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
