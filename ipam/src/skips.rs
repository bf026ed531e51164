//! The addresses of a range that nobody is given who does not ask for them:
//! gateways, what the configuration excludes, reservations, shared addresses.
//!
//! They are intervals, sorted and merged: a range that excludes a /9 of its /8
//! costs what one costs that excludes an address.

/// Numbers of addresses of one family, as sorted intervals that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skips(Vec<(u128, u128)>);

impl Skips {
    /// Merges intervals, whose ends belong to them.
    pub fn new(mut intervals: Vec<(u128, u128)>) -> Self {
        intervals.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        Skips(merged)
    }

    /// The intervals, in order.
    pub fn intervals(&self) -> &[(u128, u128)] {
        &self.0
    }

    /// The last number of the interval that `number` is in, if it is in one.
    pub fn end_of(&self, number: u128) -> Option<u128> {
        let next = self.0.partition_point(|(first, _)| *first <= number);
        let (_, last) = self.0[..next].last()?;
        (number <= *last).then_some(*last)
    }

    /// How many numbers from `first` to `last` are among them.
    pub fn count(&self, first: u128, last: u128) -> u128 {
        let common = self.0.iter().map(|(from, to)| {
            let (from, to) = ((*from).max(first), (*to).min(last));
            if from > to {
                0
            } else {
                (to - from).saturating_add(1)
            }
        });
        common.fold(0, u128::saturating_add)
    }

    /// A number that differs when the intervals do, but for bad luck.
    pub fn fingerprint(&self) -> u64 {
        let words = self.0.iter().flat_map(|(first, last)| [*first, *last]);
        let halves = words.flat_map(|word| [(word >> 64) as u64, word as u64]);
        crate::digest::of_words(halves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_merged() {
        let skips = Skips::new(vec![(20, 29), (5, 5), (6, 9), (25, 40), (50, 50)]);
        assert_eq!(skips, Skips(vec![(5, 9), (20, 40), (50, 50)]));
        for (number, end) in [
            (4, None),
            (5, Some(9)),
            (9, Some(9)),
            (10, None),
            (30, Some(40)),
            (50, Some(50)),
            (51, None),
        ] {
            assert_eq!(skips.end_of(number), end, "{number}");
        }
        assert_eq!(skips.count(0, 100), 5 + 21 + 1);
        assert_eq!(skips.count(9, 20), 2);
        assert_eq!(skips.count(10, 19), 0);
        assert_eq!(
            Skips::new(vec![(0, u128::MAX)]).count(0, u128::MAX),
            u128::MAX
        );
        assert_ne!(skips.fingerprint(), Skips::default().fingerprint());
    }
}
