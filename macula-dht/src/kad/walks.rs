//! Walks for placements: who is closest to a key, by a walk to it or by one to a neighbour.

use std::collections::BTreeSet;
use std::time::Instant;

use macula_core::{Contact, Key};

use super::lookup::Lookup;
use super::placement::{Placement, Stage};
use super::publication::Kind;
use super::region::Region;
use super::{Kademlia, OperationId, Work};

impl Kademlia {
    /// Takes who is closest to a placement's key from a walk that ended lately; whether one shows.
    pub(super) fn place_without_walk(
        &mut self,
        now: Instant,
        kind: Kind,
        placement: &mut Placement,
    ) -> bool {
        let (key, count) = (placement.key(), self.config.replication.get());
        let Some(region) = self.regions.covering(now, &key, count) else {
            return false;
        };
        let (walked_at, closest) = (region.walked_at(), region.closest_to(&key));
        self.stats.walks_shared += 1;
        self.place(walked_at, kind, placement, closest);
        true
    }

    /// Takes those of the closest that a walk has settled on while it still runs, so that they are
    /// told meanwhile: whoever turns out to be closer is told as well.
    pub(super) fn handle_walking(
        &mut self,
        (operation, index): (OperationId, usize),
        settled: Vec<Contact>,
    ) {
        let Some(publication) = self.publications.get_mut(&operation) else {
            return;
        };
        // The rest of the batch is told when the walk has ended: one message is for all of it.
        if publication.has_waiting_neighbours(index) {
            return;
        }
        if publication.placements[index].offer_early(settled) {
            publication.is_due = true;
            self.queue(Work::Publication(operation));
        }
    }

    /// Takes the end of a walk: the closest that answered, to its own key and to others nearby.
    pub(super) fn handle_walked(
        &mut self,
        now: Instant,
        (operation, index): (OperationId, usize),
        lookup: &Lookup,
    ) {
        if let Some(mut publication) = self.publications.remove(&operation) {
            let placement = &mut publication.placements[index];
            self.place(now, publication.kind, placement, lookup.closest_answered());
            publication.is_due = true;
            self.publications.insert(operation, publication);
            self.queue(Work::Publication(operation));
        }
        let region = lookup.region(now);
        self.share_walk(&lookup.target(), region.as_ref());
        if let Some(region) = region {
            self.regions.remember(now, region);
        }
    }

    /// Places whatever waited for a walk, as far as it shows who is closest. The rest goes on
    /// waiting for another, or for a walk of its own.
    fn share_walk(&mut self, target: &Key, region: Option<&Region>) {
        let replication = self.config.replication.get();
        let mut publications = std::mem::take(&mut self.publications);
        for (operation, publication) in &mut publications {
            let kind = publication.kind;
            let mut is_due = false;
            for placement in publication.needing_walks() {
                is_due = true;
                let key = placement.key();
                let covering = region.filter(|region| region.covers(&key, replication));
                if let Some(region) = covering {
                    self.stats.walks_shared += 1;
                    let closest = region.closest_to(&key);
                    self.place(region.walked_at(), kind, placement, closest);
                } else if placement.waits_for(target) {
                    placement.waited_in_vain();
                }
            }
            if is_due {
                publication.is_due = true;
                self.work.push_back(Work::Publication(*operation));
            }
        }
        self.publications = publications;
    }

    /// Decides on the nodes that should hold a claim, of those `closest` to its key.
    fn place(
        &mut self,
        walked_at: Instant,
        kind: Kind,
        placement: &mut Placement,
        mut closest: Vec<Contact>,
    ) {
        let replication = self.config.replication.get();
        let key = placement.key();
        let is_close =
            self.local.serves && is_among_closest(&self.local_key, &key, &closest, replication);
        // With somebody to tell and nobody reached, holding it alone is no success.
        let is_cut_off = closest.is_empty() && self.knows_others();
        let with_local = is_close && !is_cut_off;
        // Beside us, if we are one of them.
        let others = replication - usize::from(with_local);
        match kind {
            Kind::Announce => {
                let holders = &closest[..others.min(closest.len())];
                self.holders.walked(walked_at, &key, with_local, holders);
            }
            // Nobody stands in for a node that cannot be told: who may hold a record is told.
            Kind::Withdraw => closest.truncate(replication),
        }
        placement.stage = Stage::Placing;
        placement.offer(closest, others, with_local);
    }

    /// Lets a placement wait if a walk is under way that will likely show who is closest to its
    /// key; whether there is one.
    pub(super) fn wait_for_neighbour(&self, placement: &mut Placement) -> bool {
        let within = placement.may_wait().then(|| self.bits_of_neighbours());
        placement.wait(within);
        let mut walks = self.lookups.walks_of_placements();
        walks.any(|(target, _)| placement.waits_for(&target))
    }

    /// How many bits two keys have to share for one walk to do for both, more likely than not: as
    /// it was with the last walk, or else as our own neighbourhood is. With fewer than `k` contacts
    /// the network may be so small that one walk does for all keys.
    fn bits_of_neighbours(&self) -> usize {
        let around_us = || {
            let furthest = self.config.k.get() - 1;
            let contact = self.table.closest(&self.local_key).nth(furthest);
            contact.map_or(0, |contact| {
                let distance = contact.key().distance(&self.local_key);
                distance.leading_zeros() + 1
            })
        };
        self.regions.depth().unwrap_or_else(around_us)
    }

    pub(super) fn check_publications(&self) {
        let walks = self.lookups.walks_of_placements();
        let walks: BTreeSet<_> = walks.map(|(_, placement)| placement).collect();
        for (operation, publication) in &self.publications {
            publication.check_invariants();
            for (index, placement) in publication.unsettled() {
                let waits = placement.awaited() > 0
                    || match placement.stage {
                        Stage::NeedsWalk => !walks.is_empty(),
                        Stage::Walking => walks.contains(&(*operation, index)),
                        Stage::Waiting | Stage::Refreshing | Stage::Placing => false,
                    };
                assert!(waits, "a placement waits for nothing: {placement:?}");
            }
        }
    }
}

/// Whether a point is among the `count` closest to a key, the `others` being sorted.
fn is_among_closest(point: &Key, key: &Key, others: &[Contact], count: usize) -> bool {
    others
        .get(count - 1)
        .is_none_or(|last| point.distance(key) < Key::of_node(&last.node_id).distance(key))
}

#[cfg(test)]
mod tests;
