//! A map of what was used lately.

use std::collections::HashMap;
use std::hash::Hash;

/// Keeps at most twice `generation` entries, and the `generation` that were used last in any case.
///
/// Two maps stand in for an order of use: whatever is used moves to the younger, and the older is
/// dropped as a whole when the younger is full.
//
// Invariant: neither map holds more than `generation` entries, and no key is in both.
pub(super) struct Recent<K, V> {
    generation: usize,
    younger: HashMap<K, V>,
    older: HashMap<K, V>,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    pub(super) fn new(generation: usize) -> Self {
        Self {
            generation,
            younger: HashMap::new(),
            older: HashMap::new(),
        }
    }

    /// Looks without using.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.younger.contains_key(key) || self.older.contains_key(key)
    }

    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some((key, value)) = self.older.remove_entry(key) {
            self.insert(key, value);
        }
        self.younger.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.older.remove(&key);
        if self.younger.len() >= self.generation && !self.younger.contains_key(&key) {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_is_kept_and_no_more_than_twice_that() {
        let mut recent = Recent::new(10);
        for key in 0..1_000 {
            recent.insert(key, key);
            assert_eq!(recent.get(&0), Some(&mut 0), "used all the time");
            let held = (0..1_000).filter(|key| recent.contains(key)).count();
            assert!(held <= 20, "too many");
            assert!((key - 8..=key).all(|key| key < 0 || recent.contains(&key)));
        }
        assert_eq!(recent.get(&500), None);
    }
}
