//! Peers that could not be dialled a moment ago.

use std::collections::BTreeMap;
use std::time::Duration;

use macula_core::HostPort;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::dial::Key;

/// Which peers are not to be dialled again yet, and where they were dialled.
#[derive(Debug)]
pub(super) struct Backoffs {
    rng: StdRng,
    entries: BTreeMap<Key, Entry>,
}

#[derive(Debug)]
struct Entry {
    failures: u32,
    until: Instant,
    hosts: Vec<HostPort>,
}

impl Backoffs {
    pub(super) fn new(rng: StdRng) -> Self {
        Self {
            rng,
            entries: BTreeMap::new(),
        }
    }

    /// How long a dial has to wait; not at all if it knows a host that has not failed.
    pub(super) fn remaining(
        &self,
        now: Instant,
        peer: &Key,
        hosts: &[HostPort],
    ) -> Option<Duration> {
        let entry = self.entries.get(peer)?;
        let is_new = hosts.iter().any(|host| !entry.hosts.contains(host));
        (entry.until > now && !is_new).then(|| entry.until - now)
    }

    /// Notes a failed dial; whether something had to be forgotten for it.
    pub(super) fn failed(&mut self, now: Instant, peer: Key, hosts: &[HostPort]) -> bool {
        let is_full = !self.entries.contains_key(&peer) && self.entries.len() == MAX_BACKOFFS;
        if is_full {
            self.forget_soonest();
        }
        let before = self.entries.remove(&peer);
        let (failures, earlier) = before.map_or((0, Vec::new()), |it| (it.failures, it.hosts));
        let longest = FIRST
            .saturating_mul(1 << failures.min(MAX_DOUBLINGS))
            .min(LONGEST);
        // Half to whole, so that peers which failed together are not retried together.
        let delay = longest.mul_f64(self.rng.random_range(0.5..=1.0));
        let (hosts, is_cut) = with_earlier(hosts, earlier);
        let entry = Entry {
            failures: failures + 1,
            until: now + delay,
            hosts,
        };
        self.entries.insert(peer, entry);
        is_full || is_cut
    }

    /// The peer has shown that it lives.
    pub(super) fn clear(&mut self, peer: &Key) {
        self.entries.remove(peer);
    }

    fn forget_soonest(&mut self) {
        let soonest = self.entries.iter().min_by_key(|(_, entry)| entry.until);
        if let Some(peer) = soonest.map(|(peer, _)| peer.clone()) {
            self.entries.remove(&peer);
        }
    }
}

/// All of a dial's hosts, and those of earlier ones as far as there is room: callers that know
/// different addresses of a dead peer would else take turns in dialling it. Whether there was not
/// room for all.
fn with_earlier(hosts: &[HostPort], earlier: Vec<HostPort>) -> (Vec<HostPort>, bool) {
    let mut all = hosts.to_vec();
    all.extend(earlier.into_iter().filter(|host| !hosts.contains(host)));
    let room = MAX_HOSTS_PER_PEER.max(hosts.len());
    let is_cut = all.len() > room;
    all.truncate(room);
    (all, is_cut)
}

/// The back-off after the first failure, jitter aside.
const FIRST: Duration = Duration::from_millis(200);

/// The longest back-off.
const LONGEST: Duration = Duration::from_secs(10);

/// From here on the back-off is the longest anyway.
const MAX_DOUBLINGS: u32 = 8;

/// The most peers remembered; beyond, the one that is due soonest is forgotten.
const MAX_BACKOFFS: usize = 4096;

/// The most hosts remembered of one peer, unless one dial had more; beyond, those that failed longest
/// ago are forgotten.
const MAX_HOSTS_PER_PEER: usize = 32;

#[cfg(test)]
mod tests {
    use macula_core::NodeId;
    use rand::SeedableRng as _;

    use super::*;

    fn node(number: u16) -> Key {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Key::Node(NodeId::from_bytes(bytes))
    }

    fn host(port: u16) -> HostPort {
        let host = "127.0.0.1".to_owned();
        HostPort { host, port }
    }

    fn empty() -> Backoffs {
        Backoffs::new(StdRng::seed_from_u64(7))
    }

    #[tokio::test(start_paused = true)]
    async fn back_off_grows_with_every_failure_up_to_a_bound() {
        let mut backoffs = empty();
        let now = Instant::now();
        for failures in 0..12 {
            backoffs.failed(now, node(1), &[host(1)]);
            let delay = backoffs.remaining(now, &node(1), &[host(1)]).unwrap();
            let longest = FIRST.saturating_mul(1 << failures).min(LONGEST);
            assert!(
                delay <= longest && delay >= longest / 2,
                "{failures}: {delay:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_address_is_not_backed_off_and_a_sign_of_life_ends_it() {
        let mut backoffs = empty();
        let now = Instant::now();
        backoffs.failed(now, node(1), &[host(1)]);
        assert_eq!(backoffs.remaining(now, &node(1), &[host(1), host(2)]), None);
        assert_eq!(backoffs.remaining(now, &node(2), &[host(1)]), None);
        backoffs.clear(&node(1));
        assert_eq!(backoffs.remaining(now, &node(1), &[host(1)]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_with_different_addresses_do_not_undo_each_others_back_off() {
        let mut backoffs = empty();
        let now = Instant::now();
        backoffs.failed(now, node(1), &[host(1)]);
        backoffs.failed(now, node(1), &[host(2)]);
        for hosts in [&[host(1)], &[host(2)]] {
            assert!(backoffs.remaining(now, &node(1), hosts).is_some());
        }
        for port in 3..1000 {
            backoffs.failed(now, node(1), &[host(port), host(1)]);
        }
        assert_eq!(backoffs.entries[&node(1)].hosts.len(), MAX_HOSTS_PER_PEER);
        assert!(backoffs.remaining(now, &node(1), &[host(1)]).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_is_bounded() {
        let mut backoffs = empty();
        let now = Instant::now();
        let failing = (0..5000).map(|number| backoffs.failed(now, node(number), &[host(1)]));
        assert_eq!(
            failing.filter(|forgot| *forgot).count(),
            5000 - MAX_BACKOFFS
        );
        assert_eq!(backoffs.entries.len(), MAX_BACKOFFS);
    }
}
