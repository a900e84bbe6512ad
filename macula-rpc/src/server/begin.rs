//! From a call that has come in to its running handler.

use bytes::Bytes;
use macula_core::NodeId;
use tokio::time::Instant;

use super::Server;
use super::admission::{Admission, Found};
use super::work::Work;
use crate::message::{CallHeader, ErrorText, ReplyMessage, Status};
use crate::{CallContext, Codec, InboundCall, Runs, TraceContext, scope};

/// A call that has come in. Its arguments are wanted once it is admitted.
pub(crate) struct Incoming<'a> {
    pub(crate) caller: NodeId,
    pub(crate) header: CallHeader<'a>,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
}

/// A call that has its places, and may begin.
pub(super) struct Admitted {
    admission: Admission,
    context: CallContext,
    codec: Codec,
}

/// How far a call has come on the spot.
pub(super) enum Progress {
    /// It is over.
    Ended(ReplyMessage),
    /// Its handler has begun here, and waits for something.
    Waits(Work),
    /// Its handler is to begin in a task of its own.
    ToSpawn(Work),
}

impl Server {
    /// Finds the service of a call and takes the places for it, or says why it may not begin. A
    /// service that is being replaced is looked up again.
    pub(super) fn admit(&self, call: Incoming<'_>) -> Result<Admitted, Status> {
        let wanted = Wanted {
            name: call.header.service,
            codec_id: call.header.codec,
            arrived: call.arrived,
        };
        let context = self.context(call);
        for _ in 0..MAX_LOOKUPS {
            let Some(found) = self.find(wanted.name) else {
                break;
            };
            let codec = match wanted.checked(&found, &context) {
                Ok(codec) => codec,
                Err(status) => return Err(self.ledger.turned_away(&found, status)),
            };
            match Admission::take(found, &self.ledger, wanted.arrived) {
                Ok(admission) => {
                    return Ok(Admitted {
                        admission,
                        context,
                        codec,
                    });
                }
                Err((_, Status::NotServed)) => {}
                Err((found, status)) => return Err(self.ledger.turned_away(&found, status)),
            }
        }
        Err(self.ledger.not_served())
    }

    /// Takes a call with these arguments as far as it gets without waiting.
    pub(super) fn begin(&self, admitted: Admitted, body: Bytes) -> Progress {
        let admission = admitted.admission;
        let call = InboundCall {
            context: admitted.context,
            codec: admitted.codec,
            body,
        };
        let depth = scope::depth();
        let runs = match admission.service().runs() {
            // Each is polled on the stack of the one that calls it.
            Runs::Inline if depth >= MAX_INLINE_DEPTH => Runs::Spawned,
            runs => runs,
        };
        let max_body_bytes = self.config.max_body_bytes.get();
        match runs {
            Runs::Spawned => Progress::ToSpawn(Work::new(admission, call, 0, max_body_bytes)),
            Runs::Inline => {
                let mut work = Work::new(admission, call, depth + 1, max_body_bytes);
                match work.poll_once() {
                    Some(reply) => Progress::Ended(reply),
                    None => Progress::Waits(work),
                }
            }
        }
    }

    fn context(&self, call: Incoming<'_>) -> CallContext {
        let header = call.header;
        let of_call = || TraceContext::of_call(header.call_id);
        let cause = header.trace.unwrap_or_else(of_call);
        CallContext {
            caller: call.caller,
            realm: self.realm.clone(),
            deadline: call.deadline,
            call_id: header.call_id,
            attempt: header.attempt,
            headers: header.headers.into_owned(),
            cause,
            trace: cause.child(header.attempt.into()),
        }
    }

    fn find(&self, name: &str) -> Option<Found> {
        if let Some(local) = self.registry.local(name) {
            return Some(Found::Registered(local));
        }
        let (name, service) = self.system.get()?.get_key_value(name)?;
        Some(Found::System(name.clone(), service.clone()))
    }
}

/// What a call asks for.
struct Wanted<'a> {
    name: &'a str,
    codec_id: u8,
    arrived: Instant,
}

impl Wanted<'_> {
    /// The call's codec, if the service is for its caller.
    fn checked(&self, found: &Found, context: &CallContext) -> Result<Codec, Status> {
        if !found.service().access().admits(context) {
            return Err(Status::Denied);
        }
        Codec::from_id(self.codec_id).ok_or_else(|| {
            let reason = format!("unknown codec {}", self.codec_id);
            Status::BadArguments(ErrorText::truncating(&reason))
        })
    }
}

/// Handlers on the spot that call each other at their own node, one within the other.
const MAX_INLINE_DEPTH: u8 = 8;

/// How often a service is looked up for one call: each time but the first because it has been
/// replaced in that moment.
const MAX_LOOKUPS: usize = 3;
