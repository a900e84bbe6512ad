//! What one walk has proved: everybody within a distance of its target is known.

use std::time::Instant;

use macula_core::{Contact, Distance, Key};

/// The neighbourhood of a walk's target, as its end shows it.
///
/// Whoever is asked for the nodes closest to the target names them all, up to `k`. So when a walk
/// has heard of `k` nodes, none that it has not heard of is closer to the target than the last of
/// them. Those who were silent count among them: they took the place of others in the answers.
/// That settles who is closest to most points nearby as well, and a walk to these would ask the
/// same nodes again.
///
// Invariant: `answered` is sorted by distance to the target.
#[derive(Debug, Clone)]
pub(super) struct Region {
    target: Key,
    walked_at: Instant,
    answered: Vec<(Distance, Contact)>,
    reach: Reach,
}

/// How far a walk has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everybody who is closer to the target is known.
    Within(Distance),
    /// There are fewer than a walk asks for, and all that were heard of answered.
    Everybody,
    /// The same, but some were silent, and may be the only ones to know others.
    Audible,
}

impl Region {
    pub(super) fn new(
        target: Key,
        walked_at: Instant,
        reach: Reach,
        answered: Vec<(Distance, Contact)>,
    ) -> Self {
        Self {
            target,
            walked_at,
            answered,
            reach,
        }
    }

    /// Whether the `count` closest to a point are among those that answered, this node aside.
    pub(super) fn covers(&self, point: &Key, count: usize) -> bool {
        let apart = self.target.distance(point);
        match self.reach {
            Reach::Everybody => true,
            Reach::Audible => self.answered.len() >= count,
            // Whatever is beyond may be right at such a point: nearly all keys are told at once.
            Reach::Within(horizon) if apart.leading_zeros() < horizon.leading_zeros() => false,
            Reach::Within(horizon) => {
                let unknown = least_distance_beyond(&horizon, &apart);
                let answered = self.answered.iter();
                let known = answered.filter(|(distance, _)| *distance ^ apart < unknown);
                known.count() >= count
            }
        }
    }

    /// Those that answered, closest to a point first.
    pub(super) fn closest_to(&self, point: &Key) -> Vec<Contact> {
        let apart = self.target.distance(point);
        let mut answered: Vec<_> = self.answered.iter().collect();
        answered.sort_by_key(|(distance, _)| *distance ^ apart);
        answered
            .into_iter()
            .map(|(_, contact)| contact.clone())
            .collect()
    }

    pub(super) fn walked_at(&self) -> Instant {
        self.walked_at
    }

    /// How many bits a point should share with the target to be covered, more likely than not;
    /// `None` when there are too few nodes to tell.
    pub(super) fn depth(&self) -> Option<usize> {
        match self.reach {
            Reach::Within(horizon) => Some(horizon.leading_zeros() + 1),
            Reach::Everybody | Reach::Audible => None,
        }
    }
}

/// The least distance to a point that anything has which is as far from the target as the horizon
/// or further, `apart` being the distance of the two.
///
/// In the bits before the first in which the point lies on the far side of the horizon, whatever is
/// beyond can at best follow the horizon; from that bit on it can follow the point.
fn least_distance_beyond(horizon: &Distance, apart: &Distance) -> Distance {
    let mut least = [0; 32];
    let bytes = horizon.as_bytes().iter().zip(apart.as_bytes());
    for (least, (horizon, apart)) in least.iter_mut().zip(bytes) {
        let crossing = !horizon & apart;
        let before_crossing = !u8::MAX.checked_shr(crossing.leading_zeros()).unwrap_or(0);
        *least = (horizon ^ apart) & before_crossing;
        if crossing != 0 {
            break;
        }
    }
    Distance::from_bytes(least)
}

#[cfg(test)]
mod tests;
