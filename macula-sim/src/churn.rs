//! How long nodes stay.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Gamma, Weibull};

use crate::SimError;
use crate::fault::share;

/// Nodes that leave without a word, and others that come in their place.
///
/// Sessions are drawn from a Weibull distribution. For each node that leaves another arrives a
/// while later, so that the population is steady: the same node with nothing left of what it
/// knew, or one that never was there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Churn {
    /// The shape of the distribution; below one, whoever has stayed long stays longer.
    pub shape: f64,
    /// Its scale: 63 % of the sessions are shorter.
    pub scale: Duration,
    /// The share of arrivals that are nodes coming back, 0 to 1.
    pub returning: f64,
    /// How long after a node has left another arrives, on average.
    pub away: Duration,
}

impl Churn {
    /// Sessions of this median, otherwise as usual.
    pub fn with_median(median: Duration) -> Self {
        let usual = Self::default();
        Self {
            scale: median.mul_f64(1.0 / usual.median_over_scale()),
            ..usual
        }
    }

    /// Half of the sessions are shorter.
    pub fn median(&self) -> Duration {
        self.scale.mul_f64(self.median_over_scale())
    }

    fn median_over_scale(&self) -> f64 {
        std::f64::consts::LN_2.powf(1.0 / self.shape)
    }

    pub(crate) fn check(&self) -> Result<(), SimError> {
        share("churn.returning", self.returning)?;
        // Shapes outside would give sessions that no duration can express.
        if !(MIN_SHAPE..=MAX_SHAPE).contains(&self.shape) || self.scale.is_zero() {
            return Err(SimError::Churn);
        }
        Ok(())
    }

    /// How long a node stays that arrives now.
    pub(crate) fn session(&self, rng: &mut StdRng) -> Duration {
        let drawn = Weibull::new(1.0, self.shape).map_or(1.0, |sessions| sessions.sample(rng));
        self.scaled(drawn)
    }

    /// How long a node still stays that somebody meets in a network that has been up for long.
    ///
    /// Whom one meets is likelier to be one of those who stay long, at any point of its session:
    /// the density of what is left is the share of sessions that are longer, which for Weibull
    /// sessions is a power of a gamma variate.
    pub(crate) fn residual(&self, rng: &mut StdRng) -> Duration {
        let power = 1.0 / self.shape;
        let drawn = Gamma::new(power, 1.0).map_or(1.0, |gamma| gamma.sample(rng));
        self.scaled(drawn.powf(power))
    }

    /// How long nobody is there in place of one that left.
    pub(crate) fn gap(&self, rng: &mut StdRng) -> Duration {
        self.away.mul_f64(rng.random_range(0.5..=1.5))
    }

    fn scaled(&self, drawn: f64) -> Duration {
        self.scale.mul_f64(drawn.min(LONGEST_OVER_SCALE))
    }
}

/// What was measured of peers in public networks: half stay for two hours at most, a fifth for
/// more than eight.
impl Default for Churn {
    fn default() -> Self {
        Self {
            shape: 0.61,
            scale: Duration::from_secs(3 * 3600 + 2376),
            returning: 0.5,
            away: Duration::from_secs(60),
        }
    }
}

const MIN_SHAPE: f64 = 0.1;
const MAX_SHAPE: f64 = 20.0;

/// No session is longer; this only keeps durations from overflowing.
const LONGEST_OVER_SCALE: f64 = 1e6;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const DRAWS: usize = 50_000;

    fn sorted(draw: impl Fn(&mut StdRng) -> Duration) -> Vec<f64> {
        let mut rng = StdRng::seed_from_u64(7);
        let mut drawn: Vec<f64> = (0..DRAWS).map(|_| draw(&mut rng).as_secs_f64()).collect();
        drawn.sort_unstable_by(f64::total_cmp);
        drawn
    }

    #[test]
    fn sessions_have_the_quantiles_of_their_distribution() {
        let churn = Churn::default();
        let drawn = sorted(|rng| churn.session(rng));
        for quantile in [0.05, 0.25, 0.5, 0.75, 0.95, 0.99] {
            let expected =
                churn.scale.as_secs_f64() * (-f64::ln_1p(-quantile)).powf(1.0 / churn.shape);
            let measured = drawn[(DRAWS as f64 * quantile) as usize];
            let ratio = measured / expected;
            assert!((0.93..1.07).contains(&ratio), "{quantile}: {ratio}");
        }
        assert_eq!(churn.median().as_secs() / 60, 120);
    }

    #[test]
    fn what_is_left_of_sessions_has_the_density_of_those_that_are_longer() {
        let churn = Churn::default();
        let drawn = sorted(|rng| churn.residual(rng));
        let scale = churn.scale.as_secs_f64();
        // The integral of the survival function up to a limit, over its whole, which is the mean.
        let survived = |limit: f64| {
            let step = limit / 20_000.0;
            let at = |i: u32| ((f64::from(i) + 0.5) * step / scale).powf(churn.shape);
            (0..20_000).map(|i| (-at(i)).exp() * step).sum::<f64>()
        };
        let mean = survived(scale * 100.0);
        for quantile in [0.1, 0.5, 0.9] {
            let share = survived(drawn[(DRAWS as f64 * quantile) as usize]) / mean;
            assert!((share - quantile).abs() < 0.02, "{quantile}: {share}");
        }
    }

    #[test]
    fn median_can_be_asked_for() {
        let hour = Duration::from_secs(3600);
        let drawn = sorted(|rng| Churn::with_median(hour).session(rng));
        let ratio = drawn[DRAWS / 2] / hour.as_secs_f64();
        assert!((0.95..1.05).contains(&ratio), "{ratio}");
    }
}
