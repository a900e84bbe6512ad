//! What kinds of nodes a network is made of.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::SimError;
use crate::fault::share;

/// The shares of nodes that are no usual servers, each 0 to 1, together at most 1.
///
/// Newcomers are drawn from the same shares. The first node is always a usual one, so that
/// somebody can be joined.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Population {
    /// Nodes that only ask: they answer nothing and are in nobody's table.
    pub clients: f64,
    /// Nodes that would serve, but that nobody can reach: they ask, and get no place in a table.
    ///
    /// What they announce is stored and found like any other record, though nobody could call
    /// them. A machine takes the addresses in a record as they are, and in a simulation there
    /// always is one; that a node without an address to dial announces nothing is for the layers
    /// above to see to, which make the record.
    pub unreachable: f64,
    /// Nodes that lie.
    pub liars: f64,
    /// What the liars do.
    pub lies: Lies,
    /// The share of contacts in the first tables that are of nodes dead already.
    pub dead_contacts: f64,
}

/// What liars do. All say that they have stored what they are told, and hold nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lies {
    /// Each liar keeps to one of the others, drawn by seed.
    #[default]
    Mixed,
    /// They name contacts that do not exist.
    Strangers,
    /// They name the closest among themselves.
    Accomplices,
    /// They say that they know nobody.
    Ignorance,
    /// They name whom they know, so that nothing shows until a record is missed.
    Forgetting,
}

/// What one node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
    Unreachable,
    /// Never with [`Lies::Mixed`].
    Liar(Lies),
}

impl Population {
    pub(crate) fn check(&self) -> Result<(), SimError> {
        share("clients", self.clients)?;
        share("unreachable", self.unreachable)?;
        share("liars", self.liars)?;
        share(
            "clients + unreachable + liars",
            self.clients + self.unreachable + self.liars,
        )?;
        // Each node would know nobody else.
        if self.dead_contacts == 1.0 {
            return Err(SimError::NotAShare {
                name: "dead_contacts",
                value: self.dead_contacts,
            });
        }
        share("dead_contacts", self.dead_contacts)
    }

    pub(crate) fn draw(&self, rng: &mut StdRng) -> Role {
        let drawn: f64 = rng.random();
        if drawn < self.clients {
            Role::Client
        } else if drawn < self.clients + self.unreachable {
            Role::Unreachable
        } else if drawn < self.clients + self.unreachable + self.liars {
            Role::Liar(self.lies.of_one(rng))
        } else {
            Role::Server
        }
    }

    /// How many dead nodes make that share of all that so many tables are drawn from.
    pub(crate) fn dead_among(&self, alive: usize) -> usize {
        (alive as f64 * self.dead_contacts / (1.0 - self.dead_contacts)).round() as usize
    }
}

impl Lies {
    fn of_one(self, rng: &mut StdRng) -> Self {
        match self {
            Self::Mixed => [
                Self::Strangers,
                Self::Accomplices,
                Self::Ignorance,
                Self::Forgetting,
            ][rng.random_range(0..4)],
            other => other,
        }
    }
}

impl Role {
    /// Whether a dial of it is answered.
    pub(crate) fn is_reachable(self) -> bool {
        matches!(self, Self::Server | Self::Liar(_))
    }

    pub(crate) fn is_liar(self) -> bool {
        matches!(self, Self::Liar(_))
    }
}
