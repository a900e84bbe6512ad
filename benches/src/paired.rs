//! Runs of two things in turn, so that whatever disturbs the machine disturbs both.

use anyhow::Context;

use crate::load::Load;
use crate::statistics::Estimate;

/// What each run of both sides gave, pair by pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs<T = f64> {
    pairs: Vec<(T, T)>,
}

impl<T> Pairs<T> {
    /// Runs `ours`, `theirs`, `ours`, `theirs`, … after one pair that only warms up.
    ///
    /// # Errors
    /// The first error of either side.
    pub fn run(
        count: usize,
        mut ours: impl FnMut() -> anyhow::Result<T>,
        mut theirs: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<Self> {
        ours()?;
        theirs()?;
        let pairs = (0..count)
            .map(|_| Ok((ours()?, theirs()?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { pairs })
    }

    /// A part of what each run gave.
    pub fn of<U>(&self, part: impl Fn(&T) -> U) -> Pairs<U> {
        let parts = self.pairs.iter();
        Pairs {
            pairs: parts
                .map(|(ours, theirs)| (part(ours), part(theirs)))
                .collect(),
        }
    }

    /// Median over the pairs of the ratio of what one figure of each side is.
    ///
    /// # Errors
    /// When there are too few pairs, or a ratio is no number.
    pub fn ratio_of(&self, figure: impl Fn(&T) -> f64) -> anyhow::Result<Estimate> {
        let ratios = self.pairs.iter();
        median(ratios.map(|(ours, theirs)| figure(ours) / figure(theirs)))
    }

    /// Median of a figure of our side alone.
    ///
    /// # Errors
    /// When there are too few pairs, or it is no number.
    pub fn ours(&self, figure: impl Fn(&T) -> f64) -> anyhow::Result<Estimate> {
        median(self.pairs.iter().map(|(ours, _)| figure(ours)))
    }
}

impl Pairs {
    /// Median of `ours / theirs` over the pairs.
    ///
    /// # Errors
    /// When there are too few pairs, or a ratio is no number.
    pub fn ratio(&self) -> anyhow::Result<Estimate> {
        self.ratio_of(|side| *side)
    }

    /// Median of `ours - theirs` over the pairs.
    ///
    /// # Errors
    /// When there are too few pairs.
    pub fn difference(&self) -> anyhow::Result<Estimate> {
        let pairs = self.pairs.iter();
        median(pairs.map(|(ours, theirs)| ours - theirs))
    }
}

impl Pairs<Load> {
    /// A quantile of the latencies of all our requests together over that of all of theirs.
    ///
    /// A tail is read off all samples at once: that of one run hangs on a handful of them.
    ///
    /// # Errors
    /// When there are too few pairs, or a ratio is no number.
    pub fn pooled_ratio(&self, share: f64) -> anyhow::Result<Estimate> {
        let quantile = |drawn: &[usize], side: fn(&(Load, Load)) -> &Load| {
            let loads = drawn.iter().map(|index| side(&self.pairs[*index]));
            Load::pooled_quantile_us(loads, share).unwrap_or(f64::NAN)
        };
        let ratio = |drawn: &[usize]| {
            let ours = quantile(drawn, |(ours, _)| ours);
            ours / quantile(drawn, |(_, theirs)| theirs)
        };
        Estimate::bootstrapped(self.pairs.len(), ratio).context("too few usable pairs")
    }
}

fn median(compared: impl Iterator<Item = f64>) -> anyhow::Result<Estimate> {
    let compared: Vec<f64> = compared.collect();
    Estimate::of_median(&compared).context("too few usable pairs")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::Pairs;
    use crate::load::{Load, closed_loop};

    #[test]
    fn sides_take_turns_after_a_warm_up() {
        let turns = RefCell::new(String::new());
        let turn = |side| {
            turns.borrow_mut().push(side);
            Ok(1.0)
        };
        Pairs::run(3, || turn('a'), || turn('b')).unwrap();
        assert_eq!(turns.into_inner(), "abababab");
    }

    #[test]
    fn warm_up_counts_for_nothing() {
        let mut first = true;
        let ours = || {
            Ok(if std::mem::take(&mut first) {
                1000.0
            } else {
                6.0
            })
        };
        let pairs = Pairs::run(5, ours, || Ok(2.0)).unwrap();
        let ratio = pairs.ratio().unwrap();
        assert_eq!((ratio.low, ratio.value, ratio.high), (3.0, 3.0, 3.0));
        assert_eq!(pairs.difference().unwrap().value, 4.0);
    }

    #[test]
    fn drift_that_hits_both_sides_leaves_the_ratio_alone() {
        let slowdown = RefCell::new(1.0);
        let ours = || {
            *slowdown.borrow_mut() *= 1.5;
            Ok(2.0 * *slowdown.borrow())
        };
        let theirs = || Ok(*slowdown.borrow());
        let ratio = Pairs::run(9, ours, theirs).unwrap().ratio().unwrap();
        assert_eq!((ratio.low, ratio.high), (2.0, 2.0));
    }

    /// Hundred requests, of which some took long.
    async fn load(long: usize) -> Load {
        let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let request = move || {
            let number = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let millis = if number < long { 100 } else { 10 };
            async move {
                sleep(Duration::from_millis(millis)).await;
                Ok(())
            }
        };
        closed_loop(100, Duration::from_millis(1), request)
            .await
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn pooled_tail_counts_the_requests_of_all_runs() {
        let mut pairs = Vec::new();
        for run in 0..10 {
            // All that is long of ours came in one run: 3 % of all, though of most runs nothing.
            let ours = if run == 0 { 30 } else { 0 };
            pairs.push((load(ours).await, load(0).await));
        }
        let pairs = Pairs { pairs };
        let of_median = pairs.ratio_of(|load| load.quantile_us(0.98)).unwrap();
        assert!((of_median.value - 1.0).abs() < 0.01, "{of_median:?}");
        let pooled = pairs.pooled_ratio(0.98).unwrap();
        assert!((pooled.value - 10.0).abs() < 0.1, "{pooled:?}");
        assert!((pooled.low - 1.0).abs() < 0.01, "it may have been chance");
    }

    #[test]
    fn error_of_either_side_ends_the_run() {
        assert!(Pairs::run(9, || anyhow::bail!("ours"), || Ok(1.0)).is_err());
        assert!(Pairs::run(9, || Ok(1.0), || anyhow::bail!("theirs")).is_err());
    }

    #[test]
    fn division_by_nothing_is_an_error_and_no_figure() {
        let pairs = Pairs::run(9, || Ok(1.0), || Ok(0.0)).unwrap();
        assert!(pairs.ratio().is_err());
    }
}
