//! What is due, in batches of neighbours: a pure machine without clock, task or randomness.

use std::collections::{BTreeMap, BTreeSet};

use macula_core::Key;
use macula_dht::message::MAX_CLAIMS;
use tokio::time::Instant;

/// Where an item stands: its point of the key space, then what tells it from others there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) generation: u64,
}

/// The two kinds of work, neither of which ever waits for all of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Somebody may be waiting for it.
    First,
    /// What was done before, or failed before.
    Again,
}

/// When an item has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) lane: Lane,
    /// From when on it begins a batch of its own.
    pub(super) due: Instant,
    /// From when on it comes along with a neighbour; `None` for one that goes alone.
    pub(super) ripe: Option<Instant>,
}

/// Items that wait for their turn, and how many batches of them are under way.
///
/// What has been due for longest begins a batch and takes its nearest neighbours in key order
/// along, those of either lane, [`MAX_CLAIMS`] in all. Each step costs a logarithm of the number
/// of items for each member of the batch.
///
/// Invariant: every item that waits is in the due order of its lane, and in either `ripening` or
/// `ripe` unless it goes alone; what is under way is in none of them.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    waiting: BTreeMap<Place, (Turn, T)>,
    due: [BTreeSet<(Instant, Place)>; 2],
    ripening: BTreeSet<(Instant, Place)>,
    ripe: BTreeSet<Place>,
    under_way: BTreeSet<Place>,
    batches: [usize; 2],
    max_batches: usize,
}

/// What is done together, in the order of the key space.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) lane: Lane,
    pub(super) started_at: Instant,
    pub(super) members: Vec<(Place, T)>,
}

impl<T> Agenda<T> {
    /// At most so many batches are under way at once.
    pub(super) fn new(max_batches: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            due: [BTreeSet::new(), BTreeSet::new()],
            ripening: BTreeSet::new(),
            ripe: BTreeSet::new(),
            under_way: BTreeSet::new(),
            batches: [0; 2],
            max_batches: max_batches.max(1),
        }
    }

    /// How many items there are, those under way included.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }

    /// Adds an item, or puts one back that was under way.
    pub(super) fn insert(&mut self, place: Place, turn: Turn, item: T) {
        self.remove(&place);
        self.due[turn.lane as usize].insert((turn.due, place));
        if let Some(ripe) = turn.ripe {
            self.ripening.insert((ripe, place));
        }
        self.waiting.insert(place, (turn, item));
    }

    /// Removes an item; answers whether it was there. What is under way goes on.
    pub(super) fn remove(&mut self, place: &Place) -> bool {
        self.under_way.remove(place) || self.take(place).is_some()
    }

    /// Removes everything; answers how much. What is under way goes on.
    pub(super) fn clear(&mut self) -> usize {
        let count = self.len();
        self.waiting.clear();
        self.due.iter_mut().for_each(BTreeSet::clear);
        self.ripening.clear();
        self.ripe.clear();
        self.under_way.clear();
        count
    }

    /// When the next batch is due; `None` while nothing is, or nothing more may be under way.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.next().map(|(_, due, _)| due)
    }

    /// The batch that is due and has waited for longest, if one may begin now.
    pub(super) fn next_batch(&mut self, now: Instant) -> Option<Batch<T>> {
        let (lane, _, seed) = self.next().filter(|(_, due, _)| *due <= now)?;
        self.ripen(now);
        let goes_alone = self.waiting.get(&seed)?.0.ripe.is_none();
        let mut places = if goes_alone {
            Vec::new()
        } else {
            self.neighbours(seed)
        };
        places.push(seed);
        places.sort_unstable();
        let members: Vec<_> = places
            .into_iter()
            .filter_map(|place| Some((place, self.take(&place)?)))
            .collect();
        self.under_way
            .extend(members.iter().map(|(place, _)| *place));
        self.batches[lane as usize] += 1;
        Some(Batch {
            lane,
            started_at: now,
            members,
        })
    }

    /// Makes room for another batch of that lane.
    pub(super) fn ended(&mut self, lane: Lane) {
        let batches = &mut self.batches[lane as usize];
        *batches = batches.saturating_sub(1);
    }

    /// Whether a member of a batch that has ended is still wanted; asked once for each.
    pub(super) fn is_back(&mut self, place: &Place) -> bool {
        self.under_way.remove(place)
    }

    /// What begins the next batch.
    fn next(&self) -> Option<(Lane, Instant, Place)> {
        let first = |lane: Lane| {
            let (due, place) = self.due[lane as usize].first()?;
            self.has_room(lane).then_some((lane, *due, *place))
        };
        let lanes = [first(Lane::First), first(Lane::Again)];
        lanes.into_iter().flatten().min_by_key(|(_, due, _)| *due)
    }

    /// Each lane leaves a quarter of the batches to the other.
    fn has_room(&self, lane: Lane) -> bool {
        let most = self.max_batches;
        let share = (most - (most / 4).max(1)).max(1);
        self.batches.iter().sum::<usize>() < most && self.batches[lane as usize] < share
    }

    fn ripen(&mut self, now: Instant) {
        while let Some((ripe, _)) = self.ripening.first()
            && *ripe <= now
            && let Some((_, place)) = self.ripening.pop_first()
        {
            self.ripe.insert(place);
        }
    }

    /// The nearest that may come along, on both sides.
    fn neighbours(&self, seed: Place) -> Vec<Place> {
        let distance = |place: &Place| leading_bits(&place.key).abs_diff(leading_bits(&seed.key));
        let mut below = self.ripe.range(..seed).rev().peekable();
        let mut above = self.ripe.range(seed..).peekable();
        let mut places = Vec::new();
        while places.len() < MAX_CLAIMS - 1 {
            let next = match (below.peek(), above.peek()) {
                (Some(low), Some(high)) if distance(low) < distance(high) => below.next(),
                (Some(_), None) => below.next(),
                _ => above.next(),
            };
            match next {
                Some(place) if *place == seed => {}
                Some(place) => places.push(*place),
                None => break,
            }
        }
        places
    }

    fn take(&mut self, place: &Place) -> Option<T> {
        let (turn, item) = self.waiting.remove(place)?;
        self.due[turn.lane as usize].remove(&(turn.due, *place));
        if let Some(ripe) = turn.ripe
            && !self.ripe.remove(place)
        {
            self.ripening.remove(&(ripe, *place));
        }
        Some(item)
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let due: usize = self.due.iter().map(BTreeSet::len).sum();
        assert_eq!(due, self.waiting.len());
        for (place, (turn, _)) in &self.waiting {
            assert!(self.due[turn.lane as usize].contains(&(turn.due, *place)));
            assert!(!self.under_way.contains(place));
            let ripening = |at| self.ripening.contains(&(at, *place));
            let is_ripening = turn.ripe.is_some_and(ripening);
            let is_ripe = self.ripe.contains(place);
            assert_eq!(turn.ripe.is_some(), is_ripe || is_ripening);
            assert!(!(is_ripe && is_ripening));
        }
        assert!(self.ripe.len() + self.ripening.len() <= self.waiting.len());
        assert!(self.batches.iter().sum::<usize>() <= self.max_batches);
    }
}

/// Enough of a key to tell which of two is nearer.
fn leading_bits(key: &Key) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
