//! What happens next, in the order of virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use macula_dht::kad::RequestId;
use macula_dht::message::{Request, Response};

use crate::trace::Trace;

/// Something that happens to a node.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// To which node.
    pub(crate) to: usize,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A request arrives.
    Request {
        from: usize,
        request_id: RequestId,
        request: Request,
    },
    /// An answer arrives.
    Response {
        from: usize,
        request_id: RequestId,
        response: Response,
    },
    /// A dial has been answered.
    Reached { peer: usize, purpose: Purpose },
    /// The time has come that the machine asked for.
    Wake,
}

/// Why a peer was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To join by way of it.
    Join,
    /// The machine asked for it.
    Maintain,
}

/// Events by time; those of one instant in the order in which they were pushed.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: BTreeMap<(Duration, u64), Event>,
    pushed: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Duration, event: Event) {
        self.events.insert((at, self.pushed), event);
        self.pushed += 1;
    }

    /// Takes the next event that is due by `until`.
    pub(crate) fn pop_until(&mut self, until: Duration) -> Option<(Duration, Event)> {
        let next = self.events.first_entry()?;
        let at = next.key().0;
        (at <= until).then(|| (at, next.remove()))
    }
}

impl Event {
    /// Adds the event to the hash of the run.
    pub(crate) fn trace(&self, at: Duration, trace: &mut Trace) {
        trace.write_u64(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        trace.write_u64(self.to as u64);
        match &self.what {
            What::Request { from, request, .. } => {
                trace.write_u64(*from as u64);
                trace_request(request, trace);
            }
            What::Response { from, response, .. } => {
                trace.write_u64(*from as u64);
                trace_response(response, trace);
            }
            What::Reached { peer, .. } => trace.write_u64(*peer as u64),
            What::Wake => trace.write(b"w"),
        }
    }
}

fn trace_request(request: &Request, trace: &mut Trace) {
    match request {
        Request::Ping => trace.write(b"p"),
        Request::FindNode { key } => {
            trace.write(b"n");
            trace.write(key.as_bytes());
        }
        Request::FindProviders { key, .. } => {
            trace.write(b"f");
            trace.write(key.as_bytes());
        }
        Request::Store { records } => {
            trace.write(b"s");
            for live in records {
                trace.write(live.record.key().as_bytes());
            }
        }
        Request::Withdraw { withdrawals } => {
            trace.write(b"d");
            for live in withdrawals {
                trace.write(live.withdrawal.key().as_bytes());
            }
        }
    }
}

fn trace_response(response: &Response, trace: &mut Trace) {
    match response {
        Response::Pong => trace.write(b"P"),
        Response::Nodes { closer } => {
            trace.write(b"N");
            for contact in closer {
                trace.write(contact.node_id.as_bytes());
            }
        }
        Response::Providers(answer) => {
            trace.write(b"F");
            for live in &answer.records {
                trace.write(live.record.provider().as_bytes());
            }
            for contact in &answer.closer {
                trace.write(contact.node_id.as_bytes());
            }
        }
        Response::Stored { outcomes } => {
            trace.write(b"S");
            trace.write_u64(outcomes.len() as u64);
        }
        Response::Refused => trace.write(b"R"),
    }
}
