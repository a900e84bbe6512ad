//! Known intervals, and verdicts on either side of a goal.

use super::{Estimate, Goal, Verdict, ranks_outside};

fn estimate(low: f64, value: f64, high: f64) -> Estimate {
    Estimate { value, low, high }
}

#[test]
fn ranks_are_those_of_the_binomial_distribution() {
    // P(Bin(n, 1/2) <= r) <= 0.05 for the greatest r: tables of the sign test.
    let expected = [
        (5, Some(0)),
        (8, Some(1)),
        (9, Some(1)),
        (11, Some(2)),
        (13, Some(3)),
        (20, Some(5)),
        (31, Some(10)),
        (101, Some(41)),
    ];
    for (samples, outside) in expected {
        assert_eq!(ranks_outside(samples), outside, "{samples} samples");
    }
}

#[test]
fn too_few_samples_bound_nothing() {
    assert_eq!(ranks_outside(4), None);
    assert_eq!(Estimate::of_median(&[1.0, 1.0, 1.0, 1.0]), None);
    assert_eq!(Estimate::of_median(&[]), None);
}

#[test]
fn median_and_interval_come_from_the_sorted_samples() {
    let shuffled = [9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0];
    assert_eq!(
        Estimate::of_median(&shuffled),
        Some(estimate(2.0, 5.0, 8.0))
    );
}

#[test]
fn one_outlier_moves_no_end_of_the_interval() {
    let calm = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8];
    let mut disturbed = calm;
    disturbed[8] = 1000.0;
    assert_eq!(Estimate::of_median(&calm), Estimate::of_median(&disturbed));
}

#[test]
fn a_sample_that_is_no_number_makes_no_estimate() {
    let mut samples = [1.0; 9];
    samples[3] = f64::NAN;
    assert_eq!(Estimate::of_median(&samples), None);
}

#[test]
fn even_samples_meet_in_the_middle() {
    let samples: Vec<f64> = (1..=10_u8).map(f64::from).collect();
    let found = Estimate::of_median(&samples).unwrap();
    assert!((found.value - 5.5).abs() < 1e-12);
}

#[test]
fn interval_covers_the_true_median_nine_times_in_ten_or_more() {
    // Every 13-bit pattern of "below or above the median" is equally likely: count those whose
    // interval holds it.
    let samples = 13;
    let outside = u32::try_from(ranks_outside(samples).unwrap()).unwrap();
    let patterns = 1_u32 << samples;
    let covered = (0..patterns)
        .filter(|pattern| {
            let below = pattern.count_ones();
            below > outside && below < 13 - outside
        })
        .count();
    let share = f64::from(u32::try_from(covered).unwrap()) / f64::from(patterns);
    assert!((0.90..0.92).contains(&share), "{share}");
}

fn mean_of(samples: &[f64]) -> impl Fn(&[usize]) -> f64 {
    move |drawn| drawn.iter().map(|index| samples[*index]).sum::<f64>() / drawn.len() as f64
}

#[test]
fn bootstrapped_interval_of_a_mean_is_that_of_its_standard_error() {
    let samples: Vec<f64> = (0..40_u8).map(|n| f64::from(n % 4)).collect();
    let found = Estimate::bootstrapped(samples.len(), mean_of(&samples)).unwrap();
    // Variance 1.25 over 40 samples: a standard error of 0.177, of which 1.645 on either side.
    assert!((found.value - 1.5).abs() < 1e-12);
    assert!((found.low - 1.209).abs() < 0.03, "{found:?}");
    assert!((found.high - 1.791).abs() < 0.03, "{found:?}");
    let again = Estimate::bootstrapped(samples.len(), mean_of(&samples));
    assert_eq!(again, Some(found));
}

#[test]
fn too_few_blocks_or_no_numbers_give_no_bootstrapped_interval() {
    let samples = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(Estimate::bootstrapped(4, mean_of(&samples)), None);
    let samples = [1.0, 2.0, 3.0, 4.0, f64::NAN];
    assert_eq!(Estimate::bootstrapped(5, mean_of(&samples)), None);
}

#[test]
fn wilson_interval_agrees_with_known_values() {
    // 90 of 100: (0.8403, 0.9390) by the formula worked out by hand.
    let found = Estimate::of_share(90, 100).unwrap();
    assert!((found.value - 0.9).abs() < 1e-12);
    assert!((found.low - 0.8404).abs() < 1e-3, "{found:?}");
    assert!((found.high - 0.9393).abs() < 1e-3, "{found:?}");
}

#[test]
fn share_of_nothing_or_of_more_than_all_is_no_estimate() {
    assert_eq!(Estimate::of_share(0, 0), None);
    assert_eq!(Estimate::of_share(2, 1), None);
}

#[test]
fn shares_stay_between_none_and_all() {
    let all = Estimate::of_share(50, 50).unwrap();
    assert!(all.high <= 1.0 && all.low < 1.0);
    let none = Estimate::of_share(0, 50).unwrap();
    assert!(none.low >= 0.0 && none.high > 0.0);
}

#[test]
fn only_an_interval_clear_of_the_goal_decides() {
    let cases = [
        (Goal::AtLeast(3.0), estimate(3.0, 3.5, 4.0), Verdict::Met),
        (
            Goal::AtLeast(3.0),
            estimate(2.9, 3.5, 4.0),
            Verdict::Undecided,
        ),
        (Goal::AtLeast(3.0), estimate(1.0, 2.0, 2.9), Verdict::Missed),
        (
            Goal::AtLeast(3.0),
            estimate(2.0, 2.5, 3.0),
            Verdict::Undecided,
        ),
        (Goal::AtMost(1.2), estimate(1.0, 1.1, 1.2), Verdict::Met),
        (
            Goal::AtMost(1.2),
            estimate(1.0, 1.1, 1.3),
            Verdict::Undecided,
        ),
        (Goal::AtMost(1.2), estimate(1.3, 1.4, 1.5), Verdict::Missed),
    ];
    for (goal, estimate, verdict) in cases {
        assert_eq!(goal.judge(estimate), verdict, "{goal:?} {estimate:?}");
    }
}
