//! Which of many names is called next: a few very often, most of them seldom.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Draws ranks from `0..n`, rank r with a weight of 1 / (r + 1)^s.
#[derive(Debug)]
pub struct Zipf {
    /// Share of the draws up to and including each rank; the last one is 1.
    cumulative: Vec<f64>,
    rng: StdRng,
}

impl Zipf {
    /// Over `n` ranks with exponent `s`; equal seeds draw equal ranks.
    pub fn new(n: u32, s: f64, seed: u64) -> Self {
        let mut total = 0.0;
        let mut cumulative: Vec<f64> = (1..=n)
            .map(|rank| {
                total += f64::from(rank).powf(-s);
                total
            })
            .collect();
        for share in &mut cumulative {
            *share /= total;
        }
        Self {
            cumulative,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// The next rank.
    pub fn draw(&mut self) -> usize {
        let point: f64 = self.rng.random();
        let rank = self.cumulative.partition_point(|share| *share <= point);
        rank.min(self.cumulative.len().saturating_sub(1))
    }
}

/// Fills a key or an id from a seeded generator.
pub(crate) fn random_bytes(rng: &mut impl Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::Zipf;

    #[test]
    fn frequencies_fall_with_the_rank() {
        let mut zipf = Zipf::new(100, 1.0, 1);
        let mut drawn = [0_u32; 100];
        for _ in 0..100_000 {
            drawn[zipf.draw()] += 1;
        }
        // Rank 0 has 1 / H(100) = 19.3 % of all, rank 1 half and rank 9 a tenth of that.
        for (rank, expected) in [(0, 19_278.0), (1, 9_639.0), (9, 1_928.0)] {
            let share = f64::from(drawn[rank]) / expected;
            assert!((0.9..1.1).contains(&share), "rank {rank}: {share}");
        }
        assert!(drawn.iter().all(|count| *count > 0));
    }

    #[test]
    fn equal_seeds_draw_equal_ranks() {
        let (mut one, mut other) = (Zipf::new(50, 0.9, 7), Zipf::new(50, 0.9, 7));
        assert!((0..1000).all(|_| one.draw() == other.draw()));
    }

    #[test]
    fn a_single_rank_is_always_drawn() {
        let mut zipf = Zipf::new(1, 0.9, 3);
        assert!((0..100).all(|_| zipf.draw() == 0));
    }
}
