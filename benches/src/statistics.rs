//! Medians, percentiles, and an order that favours nobody.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Times of one operation of one contender.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, elapsed: Duration) {
        self.0.push(elapsed.as_secs_f64() * 1e3);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Milliseconds; `None` without samples.
    pub(crate) fn median(&self) -> Option<f64> {
        median(&self.0)
    }

    /// The time that 95 of 100 calls stay within, in milliseconds (nearest rank).
    pub(crate) fn p95(&self) -> Option<f64> {
        let sorted = sorted(&self.0);
        let rank = (sorted.len() * 95).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }

    /// Milliseconds; `None` without samples.
    pub(crate) fn fastest(&self) -> Option<f64> {
        sorted(&self.0).first().copied()
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// xorshift64: enough to shuffle a handful of contenders.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn from_clock() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::new(now.map_or(1, |since| since.as_nanos() as u64))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::default();
        for value in milliseconds {
            samples.push(Duration::from_millis(value));
        }
        samples
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(samples([4, 1, 3, 2]).median(), Some(2.5));
        assert_eq!(samples([9, 1, 3]).median(), Some(3.0));
        assert_eq!(samples([]).median(), None);
    }

    #[test]
    fn p95_is_the_nearest_rank() {
        assert_eq!(samples(1..=100).p95(), Some(95.0));
        assert_eq!(samples(1..=60).p95(), Some(57.0));
        assert_eq!(samples([7]).p95(), Some(7.0));
        assert_eq!(samples([]).p95(), None);
    }

    #[test]
    fn a_shuffle_keeps_everybody_and_reaches_every_order() {
        let mut chance = Chance::new(7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut items = [1, 2, 3];
            chance.shuffle(&mut items);
            let mut back = items;
            back.sort_unstable();
            assert_eq!(back, [1, 2, 3]);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6);
    }
}
