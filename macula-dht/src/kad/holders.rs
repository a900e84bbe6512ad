//! Who holds, or may hold, this node's own records.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use macula_core::{Contact, Key, NodeId};

/// Keys whose holders are remembered. A key beyond it is walked to on every refresh.
const MAX_KEYS: usize = 64 * 1024;

/// Refreshes go straight to those that acknowledged; withdrawals reach all that may hold a record:
/// a node that was told and never answered may have taken it.
#[derive(Debug, Clone, Default)]
pub(super) struct Holders {
    keys: BTreeMap<Key, Remembered>,
    max_per_key: usize,
}

// Invariant: at most `max_per_key` holders, each node once.
#[derive(Debug, Clone, Default)]
struct Remembered {
    holders: Vec<Holder>,
    /// Whether we are among the closest ourselves.
    with_local: bool,
    /// When the last walk ended.
    walked_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Holder {
    contact: Contact,
    /// Whether it acknowledged when it was last told.
    is_current: bool,
    /// When no record that it was told can be alive there any more.
    until: Instant,
    /// The newest that it was told.
    seq: u64,
}

impl Holders {
    /// Remembers up to `max_per_key` nodes of each key.
    pub(super) fn new(max_per_key: usize) -> Self {
        Self {
            keys: BTreeMap::new(),
            max_per_key,
        }
    }

    /// Notes that a node is told the record with this `seq`, which lives until `expires_at`.
    pub(super) fn told(&mut self, key: Key, contact: &Contact, (seq, expires_at): (u64, Instant)) {
        let max_per_key = self.max_per_key;
        let Some(remembered) = self.remembered(key) else {
            return;
        };
        let until = expires_at + ON_THE_WAY;
        let holders = &mut remembered.holders;
        if let Some(holder) = find(holders, &contact.node_id) {
            holder.until = holder.until.max(until);
            holder.seq = holder.seq.max(seq);
            return;
        }
        if holders.len() >= max_per_key {
            let least = (0..holders.len())
                .min_by_key(|index| (holders[*index].is_current, holders[*index].until));
            least.map(|index| holders.swap_remove(index));
        }
        holders.push(Holder {
            contact: contact.clone(),
            is_current: false,
            until,
            seq,
        });
    }

    /// Notes whether a node acknowledged the record with this `seq`, unless it was told a newer one
    /// since, to which it answers by itself. If not, it may still hold a record.
    pub(super) fn answered(
        &mut self,
        key: &Key,
        node_id: &NodeId,
        (seq, acknowledged): (u64, bool),
    ) {
        let remembered = self.keys.get_mut(key);
        let holder = remembered.and_then(|found| find(&mut found.holders, node_id));
        if let Some(holder) = holder.filter(|holder| seq >= holder.seq) {
            holder.is_current = acknowledged;
        }
    }

    /// Notes that a walk to the key has ended: it decides who is told from now on. Of those who
    /// have acknowledged already that is who is among the `closest`, which are no more than should
    /// hold a record; who stands in for one of them acknowledges anew.
    pub(super) fn walked(
        &mut self,
        now: Instant,
        key: &Key,
        with_local: bool,
        closest: &[Contact],
    ) {
        let Some(remembered) = self.remembered(*key) else {
            return;
        };
        remembered.walked_at = Some(now);
        remembered.with_local = with_local;
        for holder in &mut remembered.holders {
            let node_id = holder.contact.node_id;
            holder.is_current &= closest.iter().any(|close| close.node_id == node_id);
        }
    }

    /// Forgets a node that has taken a withdrawal of the records up to `seq`, unless it was told a
    /// newer one since: it holds none.
    pub(super) fn withdrawn(&mut self, key: &Key, node_id: &NodeId, seq: u64) {
        if let Some(remembered) = self.keys.get_mut(key) {
            let holders = &mut remembered.holders;
            holders.retain(|holder| holder.contact.node_id != *node_id || holder.seq > seq);
            if holders.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    /// Forgets a holder that has left with all it held: the next refresh looks for another.
    pub(super) fn departed(&mut self, node_id: &NodeId) {
        for remembered in self.keys.values_mut() {
            let holders = &mut remembered.holders;
            let held = holders.iter().position(|it| it.contact.node_id == *node_id);
            if let Some(held) = held.map(|position| holders.remove(position))
                && held.is_current
            {
                remembered.walked_at = None;
            }
        }
    }

    /// The holders that acknowledged when last told, and whether we are one; `None` when the last
    /// walk to the key was before `walked_since`.
    pub(super) fn current(
        &self,
        key: &Key,
        walked_since: Option<Instant>,
    ) -> Option<(Vec<Contact>, bool)> {
        let remembered = self.keys.get(key)?;
        let walked_at = remembered.walked_at?;
        if walked_since.is_some_and(|since| walked_at < since) {
            return None;
        }
        let current = remembered
            .holders
            .iter()
            .filter(|holder| holder.is_current)
            .map(|holder| holder.contact.clone())
            .collect();
        Some((current, remembered.with_local))
    }

    /// All that may hold a live record of ours under the key.
    pub(super) fn all(&self, now: Instant, key: &Key) -> Vec<Contact> {
        self.keys.get(key).map_or_else(Vec::new, |remembered| {
            let holders = remembered.holders.iter();
            let may_hold = holders.filter(|holder| holder.until > now);
            may_hold.map(|holder| holder.contact.clone()).collect()
        })
    }

    /// Forgets those whose records are over.
    pub(super) fn prune(&mut self, now: Instant) {
        self.keys.retain(|_, remembered| {
            remembered.holders.retain(|holder| holder.until > now);
            !remembered.holders.is_empty()
        });
    }

    /// What is remembered of a key, now or from now on; `None` when there are too many.
    fn remembered(&mut self, key: Key) -> Option<&mut Remembered> {
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(&key) {
            return None;
        }
        Some(self.keys.entry(key).or_default())
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.keys.len() <= MAX_KEYS, "too many keys");
        for remembered in self.keys.values() {
            let holders = &remembered.holders;
            assert!(holders.len() <= self.max_per_key, "too many holders");
            for (index, holder) in holders.iter().enumerate() {
                let node_id = holder.contact.node_id;
                let mut rest = holders[index + 1..].iter();
                assert!(rest.all(|other| other.contact.node_id != node_id));
            }
        }
    }
}

fn find<'a>(holders: &'a mut [Holder], node_id: &NodeId) -> Option<&'a mut Holder> {
    let mut holders = holders.iter_mut();
    holders.find(|holder| holder.contact.node_id == *node_id)
}

/// A record's life begins anew when it arrives: by so much later than it was sent, at most.
const ON_THE_WAY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(300);

    fn contact(index: u8) -> Contact {
        let address = "10.0.0.1:4433".parse().unwrap();
        Contact::new(NodeId::from_bytes([index; 32]), [address])
    }

    fn bed(max_per_key: usize) -> (Holders, Key, Instant) {
        let now = tokio::time::Instant::now().into_std();
        (Holders::new(max_per_key), Key::from_bytes([7; 32]), now)
    }

    #[test]
    fn node_that_never_answered_is_told_of_a_withdrawal_while_a_record_can_live() {
        let (mut holders, key, now) = bed(8);
        holders.told(key, &contact(1), (1, now + LIFE));
        assert_eq!(holders.all(now + LIFE, &key), [contact(1)]);
        assert_eq!(holders.all(now + LIFE + ON_THE_WAY, &key), []);
        holders.walked(now, &key, false, &[contact(1)]);
        let current = holders.current(&key, None);
        assert_eq!(current, Some((Vec::new(), false)), "it is no holder");
        holders.prune(now + LIFE + ON_THE_WAY);
        assert_eq!(holders.current(&key, None), None);
    }

    #[test]
    fn walk_decides_who_is_told_from_then_on() {
        let (mut holders, key, now) = bed(8);
        for index in 1..=3 {
            holders.told(key, &contact(index), (1, now + LIFE));
            holders.answered(&key, &contact(index).node_id, (1, true));
        }
        holders.walked(now, &key, true, &[contact(2), contact(4)]);
        let current = holders.current(&key, None);
        assert_eq!(current, Some((vec![contact(2)], true)));
        assert_eq!(holders.all(now, &key).len(), 3);
        assert_eq!(holders.current(&key, Some(now + LIFE)), None);
    }

    #[test]
    fn those_that_did_not_acknowledge_are_forgotten_first() {
        let (mut holders, key, now) = bed(2);
        for (index, acknowledged) in [(1, true), (2, false), (3, true)] {
            holders.told(key, &contact(index), (1, now + LIFE));
            holders.answered(&key, &contact(index).node_id, (1, acknowledged));
            holders.check_invariants();
        }
        assert_eq!(holders.all(now, &key), [contact(1), contact(3)]);
    }

    #[test]
    fn holder_that_has_left_is_replaced_at_the_next_refresh() {
        let (mut holders, key, now) = bed(8);
        for (index, acknowledged) in [(1, true), (2, true), (3, false)] {
            holders.told(key, &contact(index), (1, now + LIFE));
            holders.answered(&key, &contact(index).node_id, (1, acknowledged));
        }
        holders.walked(now, &key, false, &[contact(1), contact(2), contact(3)]);
        holders.departed(&contact(3).node_id);
        assert!(holders.current(&key, None).is_some(), "it was no holder");
        holders.departed(&contact(2).node_id);
        assert_eq!(holders.current(&key, None), None, "a walk is due");
        assert_eq!(holders.all(now, &key), [contact(1)]);
    }

    #[test]
    fn late_answer_to_a_withdrawal_leaves_who_was_told_a_newer_record() {
        let (mut holders, key, now) = bed(8);
        holders.told(key, &contact(1), (1, now + LIFE));
        holders.told(key, &contact(1), (2, now + LIFE));
        holders.withdrawn(&key, &contact(1).node_id, 1);
        assert_eq!(holders.all(now, &key), [contact(1)]);
    }

    #[test]
    fn answer_to_an_older_record_says_nothing_of_who_was_told_a_newer_one() {
        let (mut holders, key, now) = bed(8);
        let node_id = contact(1).node_id;
        holders.told(key, &contact(1), (1, now + LIFE));
        holders.told(key, &contact(1), (2, now + LIFE));
        holders.walked(now, &key, false, &[contact(1)]);
        for (answer, current) in [
            ((1, true), vec![]),
            ((2, true), vec![contact(1)]),
            ((1, false), vec![contact(1)]),
            ((2, false), vec![]),
        ] {
            holders.answered(&key, &node_id, answer);
            assert_eq!(holders.current(&key, None), Some((current, false)));
        }
    }

    #[test]
    fn who_has_taken_the_withdrawal_is_forgotten() {
        let (mut holders, key, now) = bed(8);
        holders.told(key, &contact(1), (1, now + LIFE));
        holders.withdrawn(&key, &contact(1).node_id, 1);
        assert_eq!(holders.all(now, &key), []);
        assert_eq!(holders.keys.len(), 0);
    }
}
