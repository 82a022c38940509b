//! Medians, spreads and paired ratios. PURE.

use rand::Rng;

use crate::num;

/// A value and how far it spread.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    /// Half of the values lie below.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Spread {
    /// Of these values. `None` if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let low = values.iter().copied().min_by(f64::total_cmp)?;
        let high = values.iter().copied().max_by(f64::total_cmp)?;
        Some(Self { median: median(values)?, low, high })
    }
}

/// The median.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(*upper) } else { Some(f64::midpoint(*sorted.get(middle - 1)?, *upper)) }
}

/// The ratios of pairs: each `ours` to its `theirs`. Pairs without a ratio are left out.
#[must_use]
pub fn ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Vec<f64> {
    pairs.into_iter().filter(|(_, theirs)| *theirs > 0.0).map(|(ours, theirs)| ours / theirs).collect()
}

const RESAMPLES: usize = 2000;

/// Where the median would lie in 95 of a hundred repetitions, by the bootstrap (Efron, 1979).
#[must_use]
pub fn interval(values: &[f64], rng: &mut impl Rng) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn: Vec<f64> = values.iter().map(|_| values[rng.random_range(0..values.len())]).collect();
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |part: f64| medians.get(num::index(num::whole(part * num::float_len(medians.len() - 1)))).copied();
    Some((at(0.025)?, at(0.975)?))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(Spread::of(&[2.0, 9.0, 1.0]), Some(Spread { median: 2.0, low: 1.0, high: 9.0 }));
    }

    #[test]
    fn pairs_that_have_no_ratio_are_left_out() {
        assert_eq!(ratios([(1.0, 2.0), (1.0, 0.0), (6.0, 2.0)]), [0.5, 3.0]);
    }

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_more_values() {
        let mut rng = SmallRng::seed_from_u64(1);
        let few: Vec<f64> = (0..5).map(f64::from).collect();
        let many: Vec<f64> = (0..500).map(|value| f64::from(value % 5)).collect();
        let (low, high) = interval(&few, &mut rng).unwrap();
        let (close_low, close_high) = interval(&many, &mut rng).unwrap();
        assert!(
            low <= 2.0 && 2.0 <= high && high - low > close_high - close_low,
            "{low} {high} {close_low} {close_high}"
        );
        assert_eq!(interval(&[], &mut rng), None);
    }
}
