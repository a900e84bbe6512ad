//! Which lane a request takes.
//!
//! What is written together goes on one lane, which keeps sends few; the next burst goes on another,
//! so that a lost packet holds up only what shares its lane.

use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::lane::Lane;

/// The shared lanes of one side of a connection.
// Invariant: at most one of them is being opened.
pub(super) struct Lanes {
    lanes: Vec<Entry>,
    /// Where requests go until it has written, and how many did.
    filling: Option<(usize, usize)>,
    /// Where to begin to look for the next.
    start: usize,
    /// How many to use.
    wanted: usize,
    /// How many there may be.
    max: usize,
}

struct Entry {
    lane: Arc<Lane>,
    /// Requests that are in its queue, or sent and not answered.
    in_flight: usize,
    /// Its stream is open.
    is_open: bool,
    /// The peer holds it back.
    is_blocked: bool,
}

impl Lanes {
    pub(super) fn new(max: usize) -> Self {
        Self {
            lanes: Vec::new(),
            filling: None,
            start: 0,
            wanted: max,
            max,
        }
    }

    /// The lane for one more request, and one that has to be started: the same if there was none.
    pub(super) fn choose(&mut self) -> (Arc<Lane>, Option<Arc<Lane>>) {
        let (index, new_lane) = match self.still_filling() {
            Some(index) => (index, None),
            None => self.next(),
        };
        let filled = self.filling.map_or(0, |(_, filled)| filled);
        self.filling = Some((index, filled + 1));
        let entry = &mut self.lanes[index];
        entry.in_flight += 1;
        (Arc::clone(&entry.lane), new_lane)
    }

    fn still_filling(&self) -> Option<usize> {
        let (index, filled) = self.filling?;
        (filled < MAX_FILLED && self.lanes[index].is_usable()).then_some(index)
    }

    /// The lane to fill next, and another that would be good to have.
    fn next(&mut self) -> (usize, Option<Arc<Lane>>) {
        self.filling = None;
        let best = self.least_in_flight();
        let is_enough = best.is_some_and(|index| self.lanes[index].in_flight == 0);
        let is_opening = self.lanes.iter().any(|entry| !entry.is_open);
        if is_enough || is_opening || self.lanes.len() >= self.wanted {
            // Without an open lane there is one being opened.
            return (best.unwrap_or_else(|| self.opening()), None);
        }
        let lane = self.add();
        (best.unwrap_or(self.lanes.len() - 1), Some(lane))
    }

    /// A lane that has to be started, if there is none.
    pub(super) fn first(&mut self) -> Option<Arc<Lane>> {
        self.lanes.is_empty().then(|| self.add())
    }

    fn add(&mut self) -> Arc<Lane> {
        let lane = Lane::shared();
        self.lanes.push(Entry {
            lane: Arc::clone(&lane),
            in_flight: 0,
            is_open: false,
            is_blocked: false,
        });
        lane
    }

    /// The open lane with the fewest requests; one that is held back only if all are.
    fn least_in_flight(&mut self) -> Option<usize> {
        let count = self.lanes.len().min(self.wanted);
        self.start = self.start.wrapping_add(1);
        let rotated = (0..count).map(|step| self.start.wrapping_add(step) % count);
        let open = rotated.filter(|index| self.lanes[*index].is_open);
        open.min_by_key(|index| {
            let entry = &self.lanes[*index];
            (entry.is_blocked, entry.in_flight)
        })
    }

    fn opening(&self) -> usize {
        let position = self.lanes.iter().position(|entry| !entry.is_open);
        position.unwrap_or_default()
    }

    /// A lane has begun to write: what comes now takes another. Between near nodes a lost packet is
    /// made up for at once, and fewer lanes do with fewer sends.
    pub(super) fn written(&mut self, lane: &Lane, rtt: Duration) {
        self.wanted = match rtt < NEAR {
            true => self.max.min(NEAR_LANES),
            false => self.max,
        };
        if let Some((filling, _)) = self.filling
            && lane.is(&self.lanes[filling].lane)
        {
            self.filling = None;
        }
    }

    pub(super) fn opened(&mut self, lane: &Lane) {
        if let Some(entry) = self.entry(lane) {
            entry.is_open = true;
        }
    }

    pub(super) fn blocked(&mut self, lane: &Lane, is_blocked: bool) {
        if let Some(entry) = self.entry(lane) {
            entry.is_blocked = is_blocked;
        }
    }

    /// A request of this lane needs it no more.
    pub(super) fn finished(&mut self, lane: &Lane) {
        if let Some(entry) = self.entry(lane) {
            entry.in_flight -= 1;
        }
    }

    /// Takes a lane out of use if it carries nothing, and says whether it did.
    pub(super) fn retire(&mut self, lane: &Lane) -> bool {
        let is_free = self.entry(lane).is_some_and(|entry| entry.in_flight == 0);
        if is_free {
            self.remove(lane);
        }
        is_free
    }

    /// A lane has ended.
    pub(super) fn remove(&mut self, lane: &Lane) {
        let position = self.lanes.iter().position(|entry| lane.is(&entry.lane));
        if let Some(index) = position {
            self.lanes.remove(index);
            self.filling = None;
        }
    }

    fn entry(&mut self, lane: &Lane) -> Option<&mut Entry> {
        self.lanes.iter_mut().find(|entry| lane.is(&entry.lane))
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.lanes.iter().map(|entry| entry.in_flight).sum()
    }
}

impl Entry {
    fn is_usable(&self) -> bool {
        !self.is_blocked
    }
}

/// The most lanes of one side of a connection.
pub(in crate::endpoint) const MAX_LANES: usize = 16;

/// The same between nodes that are near to each other.
const NEAR_LANES: usize = 2;

/// What counts as near.
const NEAR: Duration = Duration::from_millis(1);

/// After so many requests another lane is filled, even if this one has not written yet.
const MAX_FILLED: usize = 128;

/// Longer bodies travel alone, so that they hold nobody up.
pub(in crate::endpoint) const MAX_LANE_BODY_BYTES: usize = 64 * 1024;
