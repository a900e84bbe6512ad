//! What a message goes through on its way.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::Duration;

use rand::rngs::StdRng;

use crate::latency::mix;
use crate::{Faults, Latency};

/// What connections cost: two nodes that have not spoken for long make one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// After how long without a message a connection is gone.
    pub idle: Duration,
    /// What making one takes, in round trips; nothing by default, as if all were connected to
    /// all.
    pub round_trips: u32,
}

/// The ways between all nodes.
pub(super) struct Links {
    seed: u64,
    latency: Latency,
    pub(super) faults: Faults,
    connections: Connections,
    /// When two last spoke. Never iterated but to forget.
    spoke: HashMap<Pair, Duration>,
    /// How many pairs are remembered before those are forgotten that have been silent.
    remembered: usize,
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
            remembered: MIN_REMEMBERED,
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

    /// How long after a message another copy of it arrives, if one does.
    pub(super) fn echo(&self, link: (usize, usize), rng: &mut StdRng) -> Option<Duration> {
        let is_double = self.faults.duplicate(rng);
        is_double.then(|| self.latency.draw(self.seed, link, rng))
    }

    /// How long a request takes, with a connection to be made first if there is none.
    pub(super) fn request_delay(
        &mut self,
        now: Duration,
        [from, to]: [End; 2],
        rng: &mut StdRng,
    ) -> Option<Duration> {
        let (there, back) = ((from.node, to.node), (to.node, from.node));
        let mut delay = self.delay(there, rng)?;
        if self.connections.round_trips > 0 && !self.are_connected(now, pair([from, to])) {
            for _ in 0..self.connections.round_trips {
                delay += self.delay(there, rng)? + self.delay(back, rng)?;
            }
        }
        Some(delay)
    }

    /// Takes note that a message has arrived; whether it is the first on its connection.
    pub(super) fn arrived(&mut self, now: Duration, ends: [End; 2]) -> bool {
        let is_first = !self.are_connected(now, pair(ends));
        if self.spoke.len() >= self.remembered {
            let idle = self.connections.idle;
            self.spoke.retain(|_, last| *last + idle > now);
            self.remembered = MIN_REMEMBERED.max(2 * self.spoke.len());
        }
        self.spoke.insert(pair(ends), now);
        is_first
    }

    fn are_connected(&self, now: Duration, pair: Pair) -> bool {
        let last = self.spoke.get(&pair);
        last.is_some_and(|last| *last + self.connections.idle > now)
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            round_trips: 0,
        }
    }
}

/// One end of a connection, which does not outlive the node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) node: usize,
    pub(super) life: u32,
}

/// The lower end first.
type Pair = [End; 2];

fn pair([one, other]: [End; 2]) -> Pair {
    [one.min(other), one.max(other)]
}

/// Pairs that are remembered whether they have been silent or not.
const MIN_REMEMBERED: usize = 1 << 16;

/// Keeps the groups independent of whatever else the seed decides.
const GROUPS_APART: u64 = 0x6772_6f75_7073;
