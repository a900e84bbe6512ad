//! What this node answers its peers.

use std::time::Instant;

use macula_core::{Contact, Key, NodeId};

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
                outcomes: self.hold(now, from, records),
            },
            Request::Withdraw { withdrawals } => Response::Stored {
                outcomes: self.hold(now, from, withdrawals),
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
        // A fair sample: whoever does not fit this time is surfaced another time.
        let source = (now, &mut self.rng);
        let records = self.store.sample_records(source, key, want.min(MAX_CLAIMS));
        let source = (now, &mut self.rng);
        let withdrawals = self.store.sample_withdrawals(source, key, MAX_CLAIMS);
        ProvidersAnswer {
            records,
            withdrawals,
            closer: self.closer(key, asker),
        }
    }

    fn hold<T: Into<LiveClaim>>(
        &mut self,
        now: Instant,
        from: NodeId,
        claims: Vec<T>,
    ) -> Vec<StoreOutcome> {
        let mut outcomes = Vec::with_capacity(claims.len().min(MAX_CLAIMS));
        for live in claims.into_iter().take(MAX_CLAIMS) {
            let outcome = self.store.put(now, from, live.into());
            self.stats.refused_full += u64::from(outcome == StoreOutcome::Full);
            outcomes.push(outcome);
        }
        outcomes
    }
}
