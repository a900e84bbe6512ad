//! Calls to services of this node itself: the server's own path, without the network.

use macula_registry::{Resolved, Source};
use tokio::time::Instant;

use super::{Known, RunningCall, header_of};
use crate::caller::Reply;
use crate::caller::verdict::Verdict;
use crate::message::ReplyMessage;
use crate::server::{Incoming, Serving};
use crate::{Attempt, AttemptOutcome, CallError};

impl RunningCall<'_> {
    /// Whether this node itself is to answer first.
    pub(super) fn is_local(&self, known: Option<&Known>) -> bool {
        matches!(known, Some(Ok(Resolved::Local(_)))) || self.shared.is_to_system(self.call)
    }

    /// Makes the call here.
    pub(super) fn serve_locally(&self) -> Serving {
        let call = Incoming {
            caller: self.shared.endpoint.node_id(),
            header: header_of(self.call, self.identity, 1),
            arrived: self.time.started,
            deadline: self.time.deadline,
        };
        let server = &self.shared.server;
        server.serve_local(call, self.call.body.clone())
    }

    /// Learns what became of the call here; `None` when it was not carried out, and another provider
    /// may do so: the service is not provided any more, or turned the call away.
    pub(super) fn served_locally(
        &mut self,
        reply: ReplyMessage,
    ) -> Option<Result<Reply, CallError>> {
        let verdict = Verdict::of_reply(reply);
        if verdict.outcome == AttemptOutcome::NotServed {
            return None;
        }
        self.health.meter.local();
        self.now = Instant::now();
        let attempt = Attempt {
            provider: self.shared.endpoint.node_id(),
            outcome: verdict.outcome.clone(),
            executed: verdict.executed,
            elapsed: self.now.saturating_duration_since(self.time.started),
            forced: false,
        };
        // One that is pinned to this node may go to no other.
        let may_go_on = self.call.options.provider.is_none();
        if may_go_on && (attempt.outcome.is_overload() || attempt.outcome.is_denial()) {
            self.attempts.push(attempt);
            return None;
        }
        Some(conclude(verdict, attempt))
    }
}

fn conclude(verdict: Verdict, attempt: Attempt) -> Result<Reply, CallError> {
    let (provider, elapsed) = (attempt.provider, attempt.elapsed);
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
        elapsed,
    })
}
