//! What this node answers its peers.

use std::time::Instant;

use macula_core::{Contact, Key, NodeId};
use rand::seq::SliceRandom as _;

use super::Kademlia;
use crate::message::{LiveClaim, MAX_CLAIMS, ProvidersAnswer, Request, Response, StoreOutcome};

impl Kademlia {
    /// Answers a peer's request.
    ///
    /// Claims come in verified. A node that does not serve refuses everything.
    pub fn answer(&mut self, now: Instant, from: NodeId, request: Request) -> Response {
        if !self.local.serves {
            return Response::Refused;
        }
        self.stats.answered += 1;
        match request {
            Request::Ping => Response::Pong,
            Request::FindNode { key } => Response::Nodes {
                closer: self.closer(&key, &from),
            },
            Request::FindProviders { key, want } => {
                Response::Providers(self.providers(now, &key, &from, want.get()))
            }
            Request::Store { records } => Response::Stored {
                outcomes: self.hold(now, records),
            },
            Request::Withdraw { withdrawals } => Response::Stored {
                outcomes: self.hold(now, withdrawals),
            },
        }
    }

    fn closer(&self, key: &Key, asker: &NodeId) -> Vec<Contact> {
        let k = self.config.k.get();
        let mut closer = Vec::with_capacity(k);
        let others = self
            .closest(key, k + 1)
            .filter(|contact| contact.node_id != *asker);
        closer.extend(others.take(k).cloned());
        closer
    }

    fn providers(
        &mut self,
        now: Instant,
        key: &Key,
        asker: &NodeId,
        want: usize,
    ) -> ProvidersAnswer {
        let mut records = self.store.records(now, key);
        let mut withdrawals = self.store.withdrawals(now, key);
        // A fair sample: whoever does not fit this time is surfaced another time.
        if records.len() > want.min(MAX_CLAIMS) {
            records.shuffle(&mut self.rng);
            records.truncate(want.min(MAX_CLAIMS));
        }
        if withdrawals.len() > MAX_CLAIMS {
            withdrawals.shuffle(&mut self.rng);
            withdrawals.truncate(MAX_CLAIMS);
        }
        ProvidersAnswer {
            records,
            withdrawals,
            closer: self.closer(key, asker),
        }
    }

    fn hold<T: Into<LiveClaim>>(&mut self, now: Instant, claims: Vec<T>) -> Vec<StoreOutcome> {
        let mut outcomes = Vec::new();
        for live in claims.into_iter().take(MAX_CLAIMS) {
            let outcome = self.store.put(now, live.into());
            self.stats.refused_full += u64::from(outcome == StoreOutcome::Full);
            outcomes.push(outcome);
        }
        outcomes
    }
}
