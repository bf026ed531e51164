//! All places of a data centre: which values the fields of a place have.

use std::collections::BTreeMap;

use crate::{Place, SubnetTemplate};

/// The values that the fields of a place have in the data centre, ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds(BTreeMap<String, (u64, u64)>);

impl FromIterator<(String, (u64, u64))> for Bounds {
    fn from_iter<I: IntoIterator<Item = (String, (u64, u64))>>(bounds: I) -> Self {
        Bounds(bounds.into_iter().collect())
    }
}

impl Bounds {
    /// Reads `0-255` or `7`.
    pub fn parse(text: &str) -> Option<(u64, u64)> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let bounds = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        (bounds.0 <= bounds.1).then_some(bounds)
    }

    /// Every field and its values, in the order of names.
    pub fn fields(&self) -> impl Iterator<Item = (&str, (u64, u64))> {
        self.0.iter().map(|(name, values)| (name.as_str(), *values))
    }

    /// The values of a field.
    pub fn get(&self, field: &str) -> Option<(u64, u64)> {
        self.0.get(field).copied()
    }

    /// The fields that have more than one value.
    pub fn varying(&self) -> impl Iterator<Item = &str> {
        let varying = self.fields().filter(|(_, (low, high))| low < high);
        varying.map(|(name, _)| name)
    }

    /// How many places there are.
    pub fn places(&self) -> u128 {
        self.places_by(|_| true)
    }

    /// How many places there are that differ in fields that `count`.
    pub fn places_by(&self, count: impl Fn(&str) -> bool) -> u128 {
        let counted = self.fields().filter(|(name, _)| count(name));
        let sizes = counted.map(|(_, (low, high))| u128::from(high - low) + 1);
        sizes.fold(1, u128::saturating_mul)
    }

    /// The place with the highest values.
    pub fn last(&self) -> Place {
        let highest = self.fields();
        highest
            .map(|(name, (_, high))| (name.to_owned(), high))
            .collect()
    }

    /// Every place, the last field changing fastest.
    pub fn each(&self) -> impl Iterator<Item = Place> {
        let mut next = Some(self.0.values().map(|(low, _)| *low).collect::<Vec<u64>>());
        std::iter::from_fn(move || {
            let values = next.take()?;
            let named = self.0.keys().cloned().zip(values.iter().copied());
            let place: Place = named.collect();
            let mut after = values;
            for (value, (low, high)) in after.iter_mut().zip(self.0.values()).rev() {
                if *value < *high {
                    *value += 1;
                    next = Some(after);
                    break;
                }
                *value = *low;
            }
            Some(place)
        })
    }

    /// The values of a field that fit into a template.
    pub fn of(&self, template: &SubnetTemplate, field: &str) -> (u64, u64) {
        let fields = template.address().fields().iter();
        let limits = fields.filter(|f| f.name == field).map(|f| f.limit());
        let limit = limits.min().unwrap_or(u64::MAX);
        // Without bounds of its own a field has every value that fits.
        let (low, high) = self.0.get(field).copied().unwrap_or((0, limit));
        (low, high.min(limit))
    }

    /// The places that all templates have room for; none when there is no such place.
    pub fn fitting<'a>(
        &self,
        templates: impl Iterator<Item = &'a SubnetTemplate>,
    ) -> Option<Bounds> {
        let mut fitting = self.clone();
        for template in templates {
            for (field, (_, high)) in &mut fitting.0 {
                *high = (*high).min(self.of(template, field).1);
            }
        }
        let possible = fitting.0.values().all(|(low, high)| low <= high);
        possible.then_some(fitting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_turn() {
        let field = |(name, text): (&str, &str)| (name.to_owned(), Bounds::parse(text).unwrap());
        let bounds: Bounds = [("a", "1-2"), ("b", "7"), ("c", "0-2")]
            .into_iter()
            .map(field)
            .collect();
        let places: Vec<String> = bounds.each().map(|place| place.to_string()).collect();
        assert_eq!(places.len() as u128, bounds.places());
        assert_eq!(places[0], "a=1 b=7 c=0");
        assert_eq!(places[5], "a=2 b=7 c=2");
        assert_eq!(Bounds::default().each().count(), 1);
        assert_eq!(Bounds::parse("5-4"), None);
        assert_eq!(Bounds::parse("x"), None);
    }
}
