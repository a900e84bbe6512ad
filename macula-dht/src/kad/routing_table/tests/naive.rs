//! What a table should do, said with lists that are searched from end to end.

use std::collections::BTreeMap;
use std::time::Duration;

use macula_core::{Contact, Key};

use super::{K, Limits, MAX_FAILURES, MAX_REPLACEMENTS, Operation, contact, key};

pub(super) struct NaiveTable {
    local: u8,
    limits: Limits,
    now: Duration,
    buckets: BTreeMap<usize, NaiveBucket>,
}

#[derive(Default)]
struct NaiveBucket {
    /// Least recently heard of first.
    placed: Vec<NaiveContact>,
    waiting: Vec<NaiveContact>,
}

#[derive(Clone)]
struct NaiveContact {
    node: u8,
    subnet: u8,
    seen: Duration,
    rtt_micros: Option<u128>,
    failures: u8,
    retry_at: Duration,
    is_retried: bool,
}

impl NaiveTable {
    pub(super) fn new(local: u8, limits: Limits) -> Self {
        Self {
            local,
            limits,
            now: Duration::ZERO,
            buckets: BTreeMap::new(),
        }
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        let now = self.now;
        match *operation {
            Operation::Reach(node, subnet) => {
                let limits = self.limits;
                if let Some(bucket) = self.bucket(node) {
                    bucket.reach(now, (node, subnet), limits);
                }
            }
            Operation::Answer(node, rtt) => {
                if let Some(bucket) = self.bucket(node) {
                    bucket.answer(now, node, rtt);
                }
            }
            Operation::Fail(node) => {
                if let Some(bucket) = self.bucket(node) {
                    bucket.fail(now, node);
                }
            }
            Operation::Depart(node) => {
                if let Some(bucket) = self.bucket(node) {
                    bucket.remove(node);
                }
            }
            Operation::Retry => {
                for contact in self.placed_mut().filter(|known| known.retry_at <= now) {
                    contact.is_retried = contact.failures > 0;
                }
            }
            Operation::Wait(wait) => self.now += wait,
        }
    }

    pub(super) fn closest(&self, target: &Key, count: usize) -> Vec<Contact> {
        let mut closest = self.sorted(target, |known| known.failures == 0);
        closest.truncate(count);
        closest
    }

    pub(super) fn seeds(&self, target: &Key, count: usize) -> Vec<Contact> {
        let mut seeds = self.sorted(target, |known| known.failures == 0);
        seeds.extend(self.sorted(target, |known| known.failures > 0));
        seeds.truncate(count);
        seeds
    }

    pub(super) fn replacements(&self) -> usize {
        self.buckets
            .values()
            .map(|bucket| bucket.waiting.len())
            .sum()
    }

    pub(super) fn rtt(&self, node: u8) -> Option<Duration> {
        let buckets = self.buckets.values();
        let mut everybody = buckets.flat_map(|bucket| bucket.placed.iter().chain(&bucket.waiting));
        let known = everybody.find(|known| known.node == node)?;
        let micros = known.rtt_micros?;
        Some(Duration::from_micros(micros.try_into().unwrap()))
    }

    fn sorted(&self, target: &Key, wanted: impl Fn(&NaiveContact) -> bool) -> Vec<Contact> {
        let placed = self.buckets.values().flat_map(|bucket| &bucket.placed);
        let mut wanted: Vec<&NaiveContact> = placed.filter(|known| wanted(known)).collect();
        wanted.sort_by_key(|known| key(known.node).distance(target));
        let contacts = wanted.into_iter();
        contacts
            .map(|known| contact(known.node, known.subnet))
            .collect()
    }

    /// None for ourselves.
    fn bucket(&mut self, node: u8) -> Option<&mut NaiveBucket> {
        let index = key(node).distance(&key(self.local)).bucket_index()?;
        Some(self.buckets.entry(index).or_default())
    }

    fn placed_mut(&mut self) -> impl Iterator<Item = &mut NaiveContact> {
        self.buckets
            .values_mut()
            .flat_map(|bucket| &mut bucket.placed)
    }
}

impl NaiveBucket {
    fn reach(&mut self, now: Duration, (node, subnet): (u8, u8), limits: Limits) {
        let everybody = self.placed.iter().chain(&self.waiting);
        let beside = everybody.filter(|known| known.node != node && known.subnet == subnet);
        if limits
            .per_subnet
            .is_some_and(|most| beside.count() >= most.get())
        {
            self.remove(node);
            return;
        }
        let place = take(&mut self.placed, node);
        let had_place = place.is_some();
        let known = place.or_else(|| take(&mut self.waiting, node));
        let mut reached = NaiveContact {
            node,
            subnet,
            seen: now,
            rtt_micros: known.and_then(|known| known.rtt_micros),
            failures: 0,
            retry_at: now,
            is_retried: false,
        };
        if had_place || self.placed.len() < K {
            self.placed.push(reached);
        } else {
            reached.seen = now;
            self.waiting.push(reached);
            if self.waiting.len() > MAX_REPLACEMENTS {
                self.waiting.remove(0);
            }
        }
    }

    fn answer(&mut self, now: Duration, node: u8, rtt: Duration) {
        for list in [&mut self.placed, &mut self.waiting] {
            if let Some(mut known) = take(list, node) {
                let measured = rtt.as_micros();
                let smoothed = known.rtt_micros.map(|old| (7 * old + measured) / 8);
                known.rtt_micros = smoothed.or(Some(measured));
                known.seen = now;
                known.failures = 0;
                known.is_retried = false;
                list.push(known);
            }
        }
    }

    fn fail(&mut self, now: Duration, node: u8) {
        take(&mut self.waiting, node);
        let Some(known) = self.placed.iter_mut().find(|known| known.node == node) else {
            return;
        };
        if known.failures > 0 && !known.is_retried && now < known.retry_at {
            return;
        }
        known.failures += 1;
        known.is_retried = false;
        known.retry_at = now + Duration::from_secs(1 << known.failures);
        if known.failures == MAX_FAILURES {
            self.remove(node);
        }
    }

    fn remove(&mut self, node: u8) {
        take(&mut self.waiting, node);
        if take(&mut self.placed, node).is_none() {
            return;
        }
        let Some(latest) = self.waiting.last().map(|known| known.seen) else {
            return;
        };
        let rank = |known: &NaiveContact| known.rtt_micros.unwrap_or(u128::MAX);
        let fresh = |known: &&NaiveContact| latest - known.seen <= Duration::from_secs(300);
        // The last of the fastest.
        let candidates = self.waiting.iter().rev().filter(fresh);
        let best = candidates.min_by_key(|known| rank(known)).unwrap().node;
        let best = take(&mut self.waiting, best).unwrap();
        let later = self.placed.iter().position(|known| known.seen > best.seen);
        let position = later.unwrap_or(self.placed.len());
        self.placed.insert(position, best);
    }
}

fn take(list: &mut Vec<NaiveContact>, node: u8) -> Option<NaiveContact> {
    let position = list.iter().position(|known| known.node == node)?;
    Some(list.remove(position))
}
