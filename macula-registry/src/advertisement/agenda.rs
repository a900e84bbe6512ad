//! What is due, in batches of neighbours: a pure machine without clock, task or randomness.

use std::collections::{BTreeMap, BTreeSet};

use macula_core::Key;
use macula_dht::message::MAX_CLAIMS;
use tokio::time::Instant;

/// Where an item stands: its point of the key space, then what tells it from others there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) key: Key,
    pub(super) generation: u64,
}

/// The kinds of work, none of which ever waits for all of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
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
    pub(super) queue: Queue,
    /// From when on it begins a batch of its own.
    pub(super) due: Instant,
    /// From when on it comes along with a neighbour; `None` for one that goes alone.
    pub(super) ripe: Option<Instant>,
}

/// Items that wait for their turn, and how many batches of them are under way.
///
/// What has been due for longest begins a batch and takes its nearest neighbours in key order
/// along, those of any queue that stand the same company: [`MAX_CLAIMS`] in all, or fewer. Each
/// step costs a logarithm of the number of items for each member of the batch.
///
/// Invariant: every item that waits is in the due order of its queue, and in either `ripening` or
/// `ripe` unless it goes alone; what is under way is in none of them.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    waiting: BTreeMap<Position, Waiting<T>>,
    due: [BTreeSet<(Instant, Position)>; 3],
    ripening: BTreeSet<(Instant, Position)>,
    /// By how many they are at most.
    ripe: BTreeSet<(usize, Position)>,
    under_way: BTreeSet<Position>,
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
    pub(super) queue: Queue,
    pub(super) started_at: Instant,
    pub(super) members: Vec<(Position, T)>,
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
    pub(super) fn insert(&mut self, position: Position, turn: Turn, item: T) {
        self.insert_apart(position, turn, MAX_CLAIMS, item);
    }

    /// The same for an item that comes only with such as are put apart alike, so many at most.
    pub(super) fn insert_apart(&mut self, position: Position, turn: Turn, at_most: usize, item: T) {
        self.remove(&position);
        self.due[turn.queue as usize].insert((turn.due, position));
        if let Some(ripe) = turn.ripe {
            self.ripening.insert((ripe, position));
        }
        let waiting = Waiting {
            turn,
            at_most: at_most.min(MAX_CLAIMS),
            item,
        };
        self.waiting.insert(position, waiting);
    }

    /// Removes an item; answers whether it was there. What is under way goes on.
    pub(super) fn remove(&mut self, position: &Position) -> bool {
        self.under_way.remove(position) || self.take(position).is_some()
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
        let (queue, _, seed) = self.next().filter(|(_, due, _)| *due <= now)?;
        self.ripen(now);
        let first = self.waiting.get(&seed)?;
        let mut positions = match first.turn.ripe {
            Some(_) => self.neighbours(seed, first.at_most),
            None => Vec::new(),
        };
        positions.push(seed);
        positions.sort_unstable();
        let members: Vec<_> = positions
            .into_iter()
            .filter_map(|position| Some((position, self.take(&position)?)))
            .collect();
        self.under_way
            .extend(members.iter().map(|(position, _)| *position));
        self.batches[queue as usize] += 1;
        Some(Batch {
            queue,
            started_at: now,
            members,
        })
    }

    /// Makes room for another batch of that queue.
    pub(super) fn ended(&mut self, queue: Queue) {
        let batches = &mut self.batches[queue as usize];
        *batches = batches.saturating_sub(1);
    }

    /// Whether a member of a batch that has ended is still wanted; asked once for each.
    pub(super) fn is_back(&mut self, position: &Position) -> bool {
        self.under_way.remove(position)
    }

    /// What begins the next batch.
    fn next(&self) -> Option<(Queue, Instant, Position)> {
        let first = |queue: Queue| {
            let (due, position) = self.due[queue as usize].first()?;
            self.has_room(queue).then_some((queue, *due, *position))
        };
        let queues = [Queue::First, Queue::Again, Queue::Suspect].map(first);
        queues.into_iter().flatten().min_by_key(|(_, due, _)| *due)
    }

    /// Each queue leaves a quarter of the batches to the others; suspects take no more than one.
    fn has_room(&self, queue: Queue) -> bool {
        let most = self.max_batches;
        let quarter = (most / 4).max(1);
        let share = (most - quarter).max(1);
        let of = |queue: Queue| self.batches[queue as usize];
        let suspects = of(Queue::Suspect);
        let has_share = match queue {
            Queue::Suspect => {
                let busiest = of(Queue::First).max(of(Queue::Again));
                suspects < quarter && suspects + busiest < share
            }
            queue => suspects + of(queue) < share,
        };
        self.batches.iter().sum::<usize>() < most && has_share
    }

    fn ripen(&mut self, now: Instant) {
        while let Some((ripe, _)) = self.ripening.first()
            && *ripe <= now
            && let Some((_, position)) = self.ripening.pop_first()
        {
            let at_most = self.waiting.get(&position).map(|waiting| waiting.at_most);
            self.ripe.extend(at_most.map(|at_most| (at_most, position)));
        }
    }

    /// The nearest that may come along, on both sides.
    fn neighbours(&self, seed: Position, at_most: usize) -> Vec<Position> {
        let distance =
            |position: &Position| leading_bits(&position.key).abs_diff(leading_bits(&seed.key));
        let of_these =
            |(each, position): &(usize, Position)| (*each == at_most).then_some(*position);
        let here = (at_most, seed);
        let mut below = self.ripe.range(..here).rev().map_while(of_these).peekable();
        let mut above = self.ripe.range(here..).map_while(of_these).peekable();
        let mut positions = Vec::new();
        while positions.len() + 1 < at_most {
            let next = match (below.peek(), above.peek()) {
                (Some(low), Some(high)) if distance(low) < distance(high) => below.next(),
                (Some(_), None) => below.next(),
                _ => above.next(),
            };
            match next {
                Some(position) if position == seed => {}
                Some(position) => positions.push(position),
                None => break,
            }
        }
        positions
    }

    fn take(&mut self, position: &Position) -> Option<T> {
        let Waiting {
            turn,
            at_most,
            item,
        } = self.waiting.remove(position)?;
        self.due[turn.queue as usize].remove(&(turn.due, *position));
        if let Some(ripe) = turn.ripe
            && !self.ripe.remove(&(at_most, *position))
        {
            self.ripening.remove(&(ripe, *position));
        }
        Some(item)
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let due: usize = self.due.iter().map(BTreeSet::len).sum();
        assert_eq!(due, self.waiting.len());
        for (position, Waiting { turn, at_most, .. }) in &self.waiting {
            assert!(self.due[turn.queue as usize].contains(&(turn.due, *position)));
            assert!(!self.under_way.contains(position));
            let ripening = |at| self.ripening.contains(&(at, *position));
            let is_ripening = turn.ripe.is_some_and(ripening);
            let is_ripe = self.ripe.contains(&(*at_most, *position));
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
