//! What was used least recently, without a note at every use.
//!
//! Each is filed under an instant that is never later than its last use. Only when room is needed
//! is the front of the order looked at, and moved to where it belongs if it has been used since:
//! using costs nothing, and finding costs little but after many uses.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Numbered things by their last known use.
// Invariant: `by_use` and `filed` hold the same numbers.
#[derive(Debug)]
pub(super) struct UseOrder<T> {
    by_use: BTreeMap<(Instant, u64), T>,
    filed: BTreeMap<u64, Instant>,
}

impl<T> Default for UseOrder<T> {
    fn default() -> Self {
        Self {
            by_use: BTreeMap::new(),
            filed: BTreeMap::new(),
        }
    }
}

impl<T> UseOrder<T> {
    pub(super) fn insert(&mut self, now: Instant, number: u64, item: T) {
        self.filed.insert(number, now);
        self.by_use.insert((now, number), item);
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let filed = self.filed.remove(&number)?;
        self.by_use.remove(&(filed, number))
    }

    pub(super) fn len(&self) -> usize {
        self.filed.len()
    }

    /// Takes out the least recently used of those that are idle and let themselves be retired.
    pub(super) fn take_idle(
        &mut self,
        now: Instant,
        idle_since: impl Fn(&T) -> Option<Instant>,
        retires: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let mut busy = Vec::new();
        let mut taken = None;
        // Once where it was filed, and once where it belongs.
        for _ in 0..2 * self.filed.len() {
            let Some(((filed, number), item)) = self.by_use.pop_first() else {
                break;
            };
            match idle_since(&item) {
                Some(since) if since > filed => self.insert(since, number, item),
                Some(_) if retires(&item) => {
                    self.filed.remove(&number);
                    taken = Some(item);
                    break;
                }
                _ => busy.push((number, item)),
            }
        }
        for (number, item) in busy {
            self.insert(now, number, item);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Since when each is idle, by its number.
    type Uses = RefCell<BTreeMap<u64, Option<Instant>>>;

    fn take(order: &mut UseOrder<u64>, now: Instant, uses: &Uses) -> Option<u64> {
        order.take_idle(now, |number| uses.borrow()[number], |_| true)
    }

    #[tokio::test(start_paused = true)]
    async fn the_busy_stay_whatever_their_place() {
        let (now, uses) = (Instant::now(), Uses::default());
        let mut order = UseOrder::default();
        for number in 0..10 {
            order.insert(now, number, number);
            let idle = (number == 9).then_some(now);
            uses.borrow_mut().insert(number, idle);
        }
        assert_eq!(take(&mut order, now, &uses), Some(9));
        assert_eq!(take(&mut order, now, &uses), None);
        assert_eq!(order.by_use.len(), 9);
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Insert,
        Remove(u64),
        Use(u64),
        Hold(u64),
        Take,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            Just(Operation::Insert),
            (0..40_u64).prop_map(Operation::Remove),
            (0..40_u64).prop_map(Operation::Use),
            (0..40_u64).prop_map(Operation::Hold),
            Just(Operation::Take),
        ]
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_a_sort_would_give(
            operations in prop::collection::vec(operation(), 0..200)
        ) {
            let mut now = Instant::now();
            let (mut order, uses) = (UseOrder::default(), Uses::default());
            let mut next = 0;
            for operation in operations {
                now += Duration::from_millis(1);
                match operation {
                    Operation::Insert => {
                        order.insert(now, next, next);
                        uses.borrow_mut().insert(next, Some(now));
                        next += 1;
                    }
                    Operation::Remove(number) => {
                        let known = uses.borrow_mut().remove(&number);
                        prop_assert_eq!(order.remove(number).is_some(), known.is_some());
                    }
                    Operation::Use(number) => {
                        uses.borrow_mut().entry(number).and_modify(|use_| *use_ = Some(now));
                    }
                    Operation::Hold(number) => {
                        uses.borrow_mut().entry(number).and_modify(|use_| *use_ = None);
                    }
                    Operation::Take => {
                        let expected = {
                            let uses = uses.borrow();
                            let idle = uses.iter().filter_map(|(number, use_)| Some(((*use_)?, *number)));
                            idle.min().map(|(_, number)| number)
                        };
                        prop_assert_eq!(take(&mut order, now, &uses), expected);
                        if let Some(number) = expected {
                            uses.borrow_mut().remove(&number);
                        }
                    }
                }
                prop_assert_eq!(order.by_use.len(), order.filed.len());
            }
        }
    }
}
