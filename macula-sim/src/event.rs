//! What happens next, in the order of virtual time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use macula_dht::kad::RequestId;
use macula_dht::message::{Request, Response};

use crate::trace::Trace;

/// Something that happens to a node.
#[derive(Debug)]
pub(crate) struct Event {
    /// To which node.
    pub(crate) to: usize,
    pub(crate) what: What,
}

/// Messages are boxed, so that moving an event about in the queue is cheap.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A request arrives.
    Request(Box<Carried<Request>>),
    /// An answer arrives.
    Response(Box<Carried<Response>>),
    /// A dial has been answered.
    Reached { peer: usize, purpose: Purpose },
    /// The time has come that the machine asked for.
    Wake,
    /// The session of this life is over.
    Leave { life: u32 },
    /// Somebody comes into the network in place of whoever left.
    Arrive,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Carried<T> {
    /// Who sent it.
    pub(crate) from: usize,
    /// Which life of the asker the request belongs to: a later one does not know it.
    pub(crate) life: u32,
    /// Whether it answers the first request on a connection.
    pub(crate) connects: bool,
    pub(crate) request_id: RequestId,
    pub(crate) body: T,
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
    events: BinaryHeap<Queued>,
    pushed: u64,
}

#[derive(Debug)]
struct Queued {
    at: Duration,
    number: u64,
    event: Event,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Duration, event: Event) {
        let number = self.pushed;
        self.pushed += 1;
        self.events.push(Queued { at, number, event });
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.events.peek().map(|queued| queued.at)
    }

    /// Takes the next event that is due by `until`.
    pub(crate) fn pop_until(&mut self, until: Duration) -> Option<(Duration, Event)> {
        if self.events.peek()?.at > until {
            return None;
        }
        let Queued { at, event, .. } = self.events.pop()?;
        Some((at, event))
    }
}

impl Queued {
    fn order(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

/// The heap has the greatest on top, which is to be the earliest.
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        other.order().cmp(&self.order())
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Queued {}

impl Event {
    /// Adds the event to the hash of the run.
    pub(crate) fn trace(&self, at: Duration, trace: &mut Trace) {
        trace.write(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        trace.write(self.to as u64);
        match &self.what {
            What::Request(carried) => {
                trace.write(carried.from as u64);
                trace_request(&carried.body, trace);
            }
            What::Response(carried) => {
                trace.write(carried.from as u64);
                trace_response(&carried.body, trace);
            }
            What::Reached { peer, .. } => trace.write(*peer as u64),
            What::Wake => trace.write(WAKE),
            What::Leave { life } => trace.write(u64::from(*life)),
            What::Arrive => trace.write(ARRIVE),
        }
    }
}

fn trace_request(request: &Request, trace: &mut Trace) {
    match request {
        Request::Ping => trace.write(PING),
        Request::FindNode { key } | Request::FindProviders { key, .. } => {
            trace.write_id(key.as_bytes());
        }
        Request::Store { records } => {
            for live in records {
                trace.write_id(live.record.key().as_bytes());
                trace.write(live.record.seq());
            }
        }
        Request::Withdraw { withdrawals } => {
            for live in withdrawals {
                trace.write_id(live.withdrawal.key().as_bytes());
            }
        }
    }
}

fn trace_response(response: &Response, trace: &mut Trace) {
    match response {
        Response::Pong => trace.write(PING),
        Response::Nodes { closer } => {
            for contact in closer {
                trace.write_id(contact.node_id.as_bytes());
            }
        }
        Response::Providers(answer) => {
            for live in &answer.records {
                trace.write_id(live.record.provider().as_bytes());
            }
            for contact in &answer.closer {
                trace.write_id(contact.node_id.as_bytes());
            }
        }
        Response::Stored { outcomes } => {
            for outcome in outcomes {
                trace.write(*outcome as u64);
            }
        }
        Response::Refused => trace.write(REFUSED),
    }
}

const PING: u64 = 1;
const REFUSED: u64 = 2;
const WAKE: u64 = 3;
const ARRIVE: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_in_the_order_of_an_instant() {
        let mut queue = Queue::default();
        let at = [30, 10, 20, 10, 30, 10];
        for (to, millis) in at.into_iter().enumerate() {
            let what = What::Wake;
            queue.push(Duration::from_millis(millis), Event { to, what });
        }
        let mut popped = Vec::new();
        while let Some((_, event)) = queue.pop_until(Duration::from_millis(29)) {
            popped.push(event.to);
        }
        assert_eq!(popped, [1, 3, 5, 2]);
        let (at, event) = queue.pop_until(Duration::MAX).unwrap();
        assert_eq!((at, event.to), (Duration::from_millis(30), 0));
    }
}
