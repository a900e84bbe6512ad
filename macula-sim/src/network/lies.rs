//! What liars answer.

use std::num::NonZeroUsize;

use macula_core::{Contact, Distance, Key};
use macula_dht::kad::Kademlia;
use macula_dht::message::{ProvidersAnswer, Request, Response, StoreOutcome};

use super::Network;
use crate::identity;
use crate::population::Lies;

impl Network {
    /// The answer of a liar to a request; `None` when it is dead.
    pub(super) fn lie(&mut self, liar: usize, lies: Lies, request: Request) -> Option<Response> {
        if !self.is_alive(liar) {
            return None;
        }
        Some(match request {
            Request::Ping => Response::Pong,
            Request::FindNode { key } => Response::Nodes {
                closer: self.false_contacts(liar, lies, &key),
            },
            Request::FindProviders { key, .. } => Response::Providers(ProvidersAnswer {
                closer: self.false_contacts(liar, lies, &key),
                ..ProvidersAnswer::default()
            }),
            Request::Store { records } => said_to_be_stored(records.len()),
            Request::Withdraw { withdrawals } => said_to_be_stored(withdrawals.len()),
        })
    }

    fn false_contacts(&mut self, liar: usize, lies: Lies, key: &Key) -> Vec<Contact> {
        match lies {
            Lies::Strangers => (0..self.kad.k.get())
                .map(|_| identity::stranger(&mut self.rng))
                .collect(),
            Lies::Accomplices => self.closest_liars(key),
            Lies::Ignorance => Vec::new(),
            Lies::Mixed | Lies::Forgetting => self.true_contacts(liar, *key),
        }
    }

    fn closest_liars(&self, key: &Key) -> Vec<Contact> {
        let alive = self.liars.iter().filter(|liar| self.is_alive(**liar));
        let mut by_distance: Vec<(Distance, &Contact)> = alive
            .map(|liar| {
                let contact = self.nodes[*liar].contact();
                (contact.key().distance(key), &**contact)
            })
            .collect();
        by_distance.sort_unstable_by_key(|(distance, _)| *distance);
        by_distance
            .into_iter()
            .take(self.kad.k.get())
            .map(|(_, contact)| contact.clone())
            .collect()
    }

    fn true_contacts(&mut self, liar: usize, key: Key) -> Vec<Contact> {
        let itself = self.nodes[liar].node_id();
        let want = NonZeroUsize::MIN;
        let request = Request::FindProviders { key, want };
        let answer = |machine: &mut Kademlia, now| machine.answer(now, itself, request);
        match self.tell(liar, answer) {
            Some(Response::Providers(answer)) => answer.closer,
            _ => Vec::new(),
        }
    }
}

fn said_to_be_stored(claims: usize) -> Response {
    Response::Stored {
        outcomes: vec![StoreOutcome::Stored; claims],
    }
}
