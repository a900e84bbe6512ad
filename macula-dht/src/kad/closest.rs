//! The contacts closest to a point, closest first, found without looking at all of them.

use std::iter::Rev;
use std::ops::Range;

use macula_core::{Distance, Key};

use super::contact::PlacedContact;
use super::kbucket::KBucket;
use super::known_contact::{KnownContact, prefix};
use crate::message::MAX_CONTACTS;

/// Walks the buckets in the order of their distance to a point and sorts one at a time.
///
/// A table with `k` contacts around the point has them in one or two buckets, so it does about the
/// same work whatever the size of the table. It allocates nothing.
#[derive(Debug, Clone)]
pub(super) struct Closest<'a> {
    buckets: &'a [KBucket],
    order: BucketOrder,
    target: Key,
    /// Whether those that are failing are wanted, rather than the others.
    failing: bool,
    bucket: &'a [KnownContact],
    /// Positions in the bucket and, in the bits above, the first bits of the distance.
    sorted: [u64; MAX_CONTACTS],
    /// Which of `sorted` are still to come.
    left: Range<usize>,
}

/// The depths of the buckets that a table has, in the order of their distance to a point.
///
/// The bucket at depth `i` has the points that share `i` bits with ours, no more. Where the target
/// differs from us in bit `i`, that bucket is nearer to it than all deeper ones; where it does
/// not, it is further away than all deeper ones.
#[derive(Debug, Clone)]
struct BucketOrder {
    /// From the target to us.
    distance: Distance,
    nearer: Range<usize>,
    further: Rev<Range<usize>>,
}

impl<'a> Closest<'a> {
    /// Over the healthy contacts in the buckets, which are those around `local` by depth.
    pub(super) fn healthy(buckets: &'a [KBucket], local: &Key, target: &Key) -> Self {
        Self {
            buckets,
            order: BucketOrder {
                distance: local.distance(target),
                nearer: 0..buckets.len(),
                further: (0..buckets.len()).rev(),
            },
            target: *target,
            failing: false,
            bucket: &[],
            sorted: [0; MAX_CONTACTS],
            left: 0..0,
        }
    }

    /// Over the failing ones instead.
    pub(super) fn failing(buckets: &'a [KBucket], local: &Key, target: &Key) -> Self {
        Self {
            failing: true,
            ..Self::healthy(buckets, local, target)
        }
    }

    fn load(&mut self, bucket: &'a [KnownContact]) {
        let target_prefix = prefix(&self.target);
        let wanted = (0_u64..)
            .zip(bucket)
            .filter(|(_, known)| known.is_failing() == self.failing);
        let mut count = 0;
        for (slot, (position, known)) in self.sorted.iter_mut().zip(wanted) {
            *slot = ((known.prefix() ^ target_prefix) & !POSITION) | position;
            count += 1;
        }
        self.sorted[..count].sort_unstable();
        self.bucket = bucket;
        self.left = 0..count;
        self.sort_ties();
    }

    /// Brings those into order whose distances are the same as far as we sorted by them.
    fn sort_ties(&mut self) {
        let (bucket, target) = (self.bucket, self.target);
        let sorted = &mut self.sorted[self.left.clone()];
        if sorted
            .windows(2)
            .any(|pair| pair[0] | POSITION == pair[1] | POSITION)
        {
            sorted.sort_unstable_by_key(|packed| {
                contact_at(bucket, *packed).map(|contact| contact.key().distance(&target))
            });
        }
    }
}

impl<'a> Iterator for Closest<'a> {
    type Item = &'a PlacedContact;

    fn next(&mut self) -> Option<&'a PlacedContact> {
        loop {
            if let Some(next) = self.left.next() {
                return contact_at(self.bucket, self.sorted[next]);
            }
            let depth = self.order.next()?;
            self.load(self.buckets[depth].contacts());
        }
    }
}

impl Iterator for BucketOrder {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bytes = self.distance.as_bytes();
        let differs = |depth: &usize| bytes[depth / 8] & (0x80 >> (depth % 8)) != 0;
        self.nearer
            .find(differs)
            .or_else(|| self.further.find(|depth| !differs(depth)))
    }
}

fn contact_at(bucket: &[KnownContact], packed: u64) -> Option<&PlacedContact> {
    let position = usize::try_from(packed & POSITION).ok()?;
    bucket.get(position).map(KnownContact::contact)
}

/// The bits that hold a position in a bucket.
const POSITION: u64 = 0x1f;

const _: () = assert!(MAX_CONTACTS <= POSITION as usize + 1);
