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

/// The kinds of work, none of which ever waits for all of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Somebody may be waiting for it.
    First,
    /// What was done before, or failed before.
    Again,
    /// What may be the reason why those failed that it was done with.
    Suspect,
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
/// along, those of any lane that stand the same company: [`MAX_CLAIMS`] in all, or fewer. Each step
/// costs a logarithm of the number of items for each member of the batch.
///
/// Invariant: every item that waits is in the due order of its lane, and in either `ripening` or
/// `ripe` unless it goes alone; what is under way is in none of them.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    waiting: BTreeMap<Place, Waiting<T>>,
    due: [BTreeSet<(Instant, Place)>; 3],
    ripening: BTreeSet<(Instant, Place)>,
    /// By how many they are at most.
    ripe: BTreeSet<(usize, Place)>,
    under_way: BTreeSet<Place>,
    batches: [usize; 3],
    max_batches: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    turn: Turn,
    at_most: usize,
    item: T,
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
            due: Default::default(),
            ripening: BTreeSet::new(),
            ripe: BTreeSet::new(),
            under_way: BTreeSet::new(),
            batches: [0; 3],
            max_batches: max_batches.max(1),
        }
    }

    /// How many items there are, those under way included.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }

    /// Adds an item, or puts one back that was under way.
    pub(super) fn insert(&mut self, place: Place, turn: Turn, item: T) {
        self.insert_apart(place, turn, MAX_CLAIMS, item);
    }

    /// The same for an item that comes only with such as are put apart alike, so many at most.
    pub(super) fn insert_apart(&mut self, place: Place, turn: Turn, at_most: usize, item: T) {
        self.remove(&place);
        self.due[turn.lane as usize].insert((turn.due, place));
        if let Some(ripe) = turn.ripe {
            self.ripening.insert((ripe, place));
        }
        let waiting = Waiting {
            turn,
            at_most: at_most.min(MAX_CLAIMS),
            item,
        };
        self.waiting.insert(place, waiting);
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
        let first = self.waiting.get(&seed)?;
        let mut places = match first.turn.ripe {
            Some(_) => self.neighbours(seed, first.at_most),
            None => Vec::new(),
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
        let lanes = [Lane::First, Lane::Again, Lane::Suspect].map(first);
        lanes.into_iter().flatten().min_by_key(|(_, due, _)| *due)
    }

    /// Each lane leaves a quarter of the batches to the others, and suspects take no more than one.
    fn has_room(&self, lane: Lane) -> bool {
        let most = self.max_batches;
        let quarter = (most / 4).max(1);
        let share = (most - quarter).max(1);
        let of = |lane: Lane| self.batches[lane as usize];
        let suspects = of(Lane::Suspect);
        let has_share = match lane {
            Lane::Suspect => {
                let busiest = of(Lane::First).max(of(Lane::Again));
                suspects < quarter && suspects + busiest < share
            }
            lane => suspects + of(lane) < share,
        };
        self.batches.iter().sum::<usize>() < most && has_share
    }

    fn ripen(&mut self, now: Instant) {
        while let Some((ripe, _)) = self.ripening.first()
            && *ripe <= now
            && let Some((_, place)) = self.ripening.pop_first()
        {
            let at_most = self.waiting.get(&place).map(|waiting| waiting.at_most);
            self.ripe.extend(at_most.map(|at_most| (at_most, place)));
        }
    }

    /// The nearest that may come along, on both sides.
    fn neighbours(&self, seed: Place, at_most: usize) -> Vec<Place> {
        let distance = |place: &Place| leading_bits(&place.key).abs_diff(leading_bits(&seed.key));
        let of_these = |(each, place): &(usize, Place)| (*each == at_most).then_some(*place);
        let here = (at_most, seed);
        let mut below = self.ripe.range(..here).rev().map_while(of_these).peekable();
        let mut above = self.ripe.range(here..).map_while(of_these).peekable();
        let mut places = Vec::new();
        while places.len() + 1 < at_most {
            let next = match (below.peek(), above.peek()) {
                (Some(low), Some(high)) if distance(low) < distance(high) => below.next(),
                (Some(_), None) => below.next(),
                _ => above.next(),
            };
            match next {
                Some(place) if place == seed => {}
                Some(place) => places.push(place),
                None => break,
            }
        }
        places
    }

    fn take(&mut self, place: &Place) -> Option<T> {
        let Waiting {
            turn,
            at_most,
            item,
        } = self.waiting.remove(place)?;
        self.due[turn.lane as usize].remove(&(turn.due, *place));
        if let Some(ripe) = turn.ripe
            && !self.ripe.remove(&(at_most, *place))
        {
            self.ripening.remove(&(ripe, *place));
        }
        Some(item)
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let due: usize = self.due.iter().map(BTreeSet::len).sum();
        assert_eq!(due, self.waiting.len());
        for (place, Waiting { turn, at_most, .. }) in &self.waiting {
            assert!(self.due[turn.lane as usize].contains(&(turn.due, *place)));
            assert!(!self.under_way.contains(place));
            let ripening = |at| self.ripening.contains(&(at, *place));
            let is_ripening = turn.ripe.is_some_and(ripening);
            let is_ripe = self.ripe.contains(&(*at_most, *place));
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
