//! How much was sent, and what of it got through.

use macula_dht::message::Request;
use serde::Serialize;

/// Counts of messages and of what happened to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Requests sent.
    pub requests: u64,
    /// Those of them that only ask whether a contact still lives.
    pub pings: u64,
    /// Answers sent.
    pub responses: u64,
    /// Dials of bootstrap peers and former contacts.
    pub dials: u64,
    /// Messages lost on the way.
    pub lost: u64,
    /// Messages of which a second copy was delivered. They count once as sent.
    pub duplicated: u64,
    /// Messages that arrived at a dead node.
    pub to_the_dead: u64,
}

/// Requests that one node has sent, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Whether a contact still lives.
    pub pings: u64,
    /// Who is closest to a point: steps of walks.
    pub find_node: u64,
    /// Who provides a service: steps of finds.
    pub find_providers: u64,
    /// Records to hold, however many in each.
    pub stores: u64,
    /// Withdrawals to hold, however many in each.
    pub withdrawals: u64,
}

impl Sent {
    /// Requests of all kinds.
    pub fn all(&self) -> u64 {
        self.pings + self.find_node + self.find_providers + self.stores + self.withdrawals
    }

    pub(crate) fn count(&mut self, request: &Request) {
        let of_kind = match request {
            Request::Ping => &mut self.pings,
            Request::FindNode { .. } => &mut self.find_node,
            Request::FindProviders { .. } => &mut self.find_providers,
            Request::Store { .. } => &mut self.stores,
            Request::Withdraw { .. } => &mut self.withdrawals,
        };
        *of_kind += 1;
    }
}
