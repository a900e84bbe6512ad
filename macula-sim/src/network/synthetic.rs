//! Routing tables as a network has them that has been up for long, without playing the joins.

use macula_core::Key;
use rand::RngExt;
use rand::rngs::StdRng;

/// All nodes that can be in a table, in the order of their points, where every subtree of the
/// keyspace is a range.
pub(super) struct Atlas {
    /// Of all nodes, by index.
    points: Vec<Key>,
    by_point: Vec<usize>,
}

impl Atlas {
    pub(super) fn new(points: Vec<Key>, knowable: &[usize]) -> Self {
        let mut by_point = knowable.to_vec();
        by_point.sort_unstable_by_key(|node| points[*node]);
        Self { points, by_point }
    }

    /// Up to `k` nodes for each bucket of a node, drawn from all that fall into it.
    pub(super) fn contacts_of(&self, node: usize, k: usize, rng: &mut StdRng) -> Vec<usize> {
        let own = &self.points[node];
        let mut beside = self.by_point.as_slice();
        let mut contacts = Vec::new();
        let mut depth = 0;
        while !beside.is_empty() && beside != [node] {
            let ones_begin = beside.partition_point(|peer| !bit(&self.points[*peer], depth));
            let (zeros, ones) = beside.split_at(ones_begin);
            let (mine, bucket) = if bit(own, depth) {
                (ones, zeros)
            } else {
                (zeros, ones)
            };
            contacts.extend(sample(bucket, k, rng));
            beside = mine;
            depth += 1;
        }
        contacts
    }
}

/// Up to `k` distinct nodes, every choice as likely as another: Floyd's algorithm, whose cost
/// depends on `k` alone.
fn sample(nodes: &[usize], k: usize, rng: &mut StdRng) -> Vec<usize> {
    let mut chosen = Vec::with_capacity(k);
    for last in nodes.len().saturating_sub(k)..nodes.len() {
        let drawn = nodes[rng.random_range(0..=last)];
        let is_new = !chosen.contains(&drawn);
        chosen.push(if is_new { drawn } else { nodes[last] });
    }
    chosen
}

/// Bit `depth` of a point, the most significant first.
fn bit(point: &Key, depth: usize) -> bool {
    point.as_bytes()[depth / 8] & (0x80 >> (depth % 8)) != 0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_bucket_is_as_full_as_it_can_be() {
        let mut rng = StdRng::seed_from_u64(1);
        let points = (0..200).map(|_| Key::from_bytes(rng.random())).collect();
        let knowable: Vec<usize> = (0..200).filter(|node| node % 5 != 0).collect();
        let atlas = Atlas::new(points, &knowable);
        for (node, own) in atlas.points.iter().enumerate() {
            let buckets = |peers: &[usize]| {
                let mut sizes = BTreeMap::new();
                for peer in peers {
                    let bucket = own.distance(&atlas.points[*peer]).bucket_index();
                    *sizes.entry(bucket).or_insert(0) += 1;
                }
                sizes
            };
            let others = knowable.iter().copied().filter(|peer| *peer != node);
            let mut possible = buckets(&others.collect::<Vec<_>>());
            possible.values_mut().for_each(|size| *size = 8.min(*size));
            let mut contacts = atlas.contacts_of(node, 8, &mut rng);
            assert_eq!(buckets(&contacts), possible);
            contacts.sort_unstable();
            contacts.dedup();
            assert_eq!(contacts.len(), possible.values().sum::<usize>());
        }
    }
}
