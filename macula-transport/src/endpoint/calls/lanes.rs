//! Which lane a request takes.
//!
//! What is written together goes on one lane, which keeps sends few; the next burst goes on another,
//! so that a lost packet holds up only what shares its lane.

use std::sync::Arc;

use crate::endpoint::lane::Lane;

/// The lanes of one connection that are open.
pub(super) struct Lanes {
    lanes: Vec<Entry>,
    /// Where requests go until it has written.
    filling: Option<usize>,
    /// Where to begin to look for the next.
    start: usize,
}

struct Entry {
    lane: Arc<Lane>,
    in_flight: usize,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            lanes: Vec::new(),
            filling: None,
            start: 0,
        }
    }

    /// The lane for one more request, and whether it has to be started.
    pub(super) fn choose(&mut self) -> (Arc<Lane>, bool) {
        let known = self.filling.or_else(|| self.least_in_flight());
        let (index, is_new) = match known {
            Some(index) => (index, false),
            None => (self.open(), true),
        };
        self.filling = Some(index);
        let entry = &mut self.lanes[index];
        entry.in_flight += 1;
        (Arc::clone(&entry.lane), is_new)
    }

    /// The lane with the fewest requests; none when another should be opened.
    fn least_in_flight(&mut self) -> Option<usize> {
        let count = self.lanes.len();
        self.start = self.start.wrapping_add(1);
        let rotated = (0..count).map(|step| (self.start.wrapping_add(step)) % count);
        let least = rotated.min_by_key(|index| self.lanes[*index].in_flight)?;
        let may_open = count < MAX_LANES && self.lanes[least].in_flight > 0;
        (!may_open).then_some(least)
    }

    fn open(&mut self) -> usize {
        self.lanes.push(Entry {
            lane: Lane::shared(),
            in_flight: 0,
        });
        self.lanes.len() - 1
    }

    /// A lane has begun to write: what comes now takes another.
    pub(super) fn written(&mut self, lane: &Lane) {
        if self.filling.is_some() && self.filling == self.position(lane) {
            self.filling = None;
        }
    }

    /// A request of this lane needs it no more.
    pub(super) fn finished(&mut self, lane: &Lane) {
        if let Some(index) = self.position(lane) {
            self.lanes[index].in_flight -= 1;
        }
    }

    /// A lane has ended.
    pub(super) fn remove(&mut self, lane: &Lane) {
        if let Some(index) = self.position(lane) {
            self.lanes.remove(index);
            self.filling = None;
        }
    }

    fn position(&self, lane: &Lane) -> Option<usize> {
        self.lanes.iter().position(|entry| lane.is(&entry.lane))
    }
}

/// The most lanes of one side of a connection.
pub(super) const MAX_LANES: usize = 8;
