//! What a message goes through on its way.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::Duration;

use rand::rngs::StdRng;

use crate::latency::mix;
use crate::{Faults, Latency};

/// Whether a message to a peer without a connection takes longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Connections {
    /// All are connected to all.
    #[default]
    Warm,
    /// The first request between two, and the first after so long a silence, comes after so many
    /// round trips.
    Cold {
        /// What a handshake takes, in round trips.
        round_trips: u32,
        /// After how long without a message a connection is gone.
        idle: Duration,
    },
}

/// The ways between all nodes.
pub(super) struct Links {
    seed: u64,
    latency: Latency,
    pub(super) faults: Faults,
    connections: Connections,
    /// When the two last spoke, the lower index first. Never iterated but to forget.
    spoke: HashMap<(usize, usize), Duration>,
    /// Into how many groups the network is split, if it is.
    groups: Option<NonZeroU64>,
}

impl Links {
    pub(super) fn new(seed: u64, latency: Latency, connections: Connections) -> Self {
        Self {
            seed,
            latency,
            faults: Faults::default(),
            connections,
            spoke: HashMap::new(),
            groups: None,
        }
    }

    pub(super) fn split(&mut self, groups: Option<NonZeroU64>) {
        self.groups = groups;
    }

    /// In which of the groups a node is; all in one while the network is whole.
    pub(super) fn group(&self, node: usize) -> u64 {
        self.groups.map_or(0, |groups| {
            mix(mix(self.seed ^ GROUPS_APART) ^ node as u64) % groups
        })
    }

    /// How long a message takes; `None` when it is lost.
    pub(super) fn delay(&self, link: (usize, usize), rng: &mut StdRng) -> Option<Duration> {
        let is_cut = self.groups.is_some() && self.group(link.0) != self.group(link.1);
        if is_cut || self.faults.lose(rng) {
            return None;
        }
        Some(self.latency.draw(self.seed, link, rng))
    }

    /// How long a request takes, with a connection to be made first if there is none.
    pub(super) fn request_delay(
        &mut self,
        now: Duration,
        link: (usize, usize),
        rng: &mut StdRng,
    ) -> Option<Duration> {
        let delay = self.delay(link, rng)?;
        let Connections::Cold { round_trips, idle } = self.connections else {
            return Some(delay);
        };
        let pair = (link.0.min(link.1), link.0.max(link.1));
        if self.spoke.len() >= MAX_REMEMBERED {
            self.spoke.retain(|_, last| *last + idle > now);
        }
        let last = self.spoke.insert(pair, now);
        if last.is_some_and(|last| last + idle > now) {
            return Some(delay);
        }
        let mut handshake = Duration::ZERO;
        for _ in 0..round_trips {
            handshake += self.delay(link, rng)? + self.delay((link.1, link.0), rng)?;
        }
        Some(handshake + delay)
    }
}

/// Pairs beyond which those are forgotten that have been silent.
const MAX_REMEMBERED: usize = 1 << 20;

/// Keeps the groups independent of whatever else the seed decides.
const GROUPS_APART: u64 = 0x6772_6f75_7073;
