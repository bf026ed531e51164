//! Whether the subnets that two templates make for many places can overlap.
//!
//! Two subnets overlap when they agree in the bits of the shorter prefix; below it
//! that subnet has every bit. So the question is whether some values of the fields of
//! one template and some of the other's make the same bits, each within its bounds.
//! Going from the most significant bit to the least, all that matters of what came
//! before is whether a field still touches its lowest or its highest value. That is
//! a handful of states a bit, whatever the number of places.

use std::collections::BTreeMap;

use place::template::Field;
use place::{Place, SubnetTemplate};

use super::Bounds;

/// A template as a set of prefixes.
struct Bits<'a> {
    template: &'a SubnetTemplate,
    bounds: BTreeMap<&'a str, (u64, u64)>,
}

/// What must still be known of the field that a bit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Touching {
    lowest: bool,
    highest: bool,
}

const BOTH: Touching = Touching {
    lowest: true,
    highest: true,
};

/// Finds an address that is in a subnet of both templates, if there is one.
pub(super) fn meeting(
    one: &SubnetTemplate,
    other: &SubnetTemplate,
    bounds: &Bounds,
) -> Option<u128> {
    if one.address().family() != other.address().family() {
        return None;
    }
    let ones = fixed(one, bounds);
    let others = fixed(other, bounds);
    ones.iter().find_map(|one_fixed| {
        let one = Bits::new(one, bounds, one_fixed)?;
        let meets = |fixed| one.meets(&Bits::new(other, bounds, fixed)?);
        others.iter().find_map(meets)
    })
}

/// A field that stands more than once ties bits together that are far apart. Such
/// fields get every one of their values, one after the other.
fn fixed(template: &SubnetTemplate, bounds: &Bounds) -> Vec<Place> {
    let fields = template.address().fields();
    let mut places = vec![Place::default()];
    for (index, field) in fields.iter().enumerate() {
        let before = fields[..index]
            .iter()
            .filter(|f| f.name == field.name)
            .count();
        let (low, high) = bounds.of(template, &field.name);
        if before == 1 && low <= high {
            let with = |place: &Place| {
                let place = place.clone();
                (low..=high).map(move |value| {
                    let mut place = place.clone();
                    place.agree(&field.name, value);
                    place
                })
            };
            places = places.iter().flat_map(with).collect();
        }
    }
    places
}

impl<'a> Bits<'a> {
    /// None when some field has no value that fits.
    fn new(template: &'a SubnetTemplate, bounds: &Bounds, fixed: &Place) -> Option<Self> {
        let of = |field: &'a Field| {
            let free = bounds.of(template, &field.name);
            let value = fixed.get(&field.name);
            (
                field.name.as_str(),
                value.map_or(free, |value| (value, value)),
            )
        };
        let bounds: BTreeMap<_, _> = template.address().fields().iter().map(of).collect();
        let empty = bounds.values().any(|(low, high)| low > high);
        (!empty).then_some(Bits { template, bounds })
    }

    /// The first address that is in a subnet of both.
    fn meets(&self, other: &Bits<'_>) -> Option<u128> {
        let bits = self.template.address().family().bits();
        let prefix = self.template.prefix().max(other.template.prefix());
        // For each state, the bits that led to it.
        let mut states = BTreeMap::from([((BOTH, BOTH), 0u128)]);
        for shift in (bits - u32::from(prefix)..bits).rev() {
            let mut next = BTreeMap::new();
            for ((one, two), address) in states {
                for bit in [0, 1] {
                    let after = (self.step(shift, bit, one), other.step(shift, bit, two));
                    if let (Some(one), Some(two)) = after {
                        let address = address | u128::from(bit) << shift;
                        next.entry((one, two)).or_insert(address);
                    }
                }
            }
            states = next;
        }
        states.into_values().next()
    }

    /// What is known after the bit at `shift` is `bit`; none when it cannot be.
    fn step(&self, shift: u32, bit: u8, touching: Touching) -> Option<Touching> {
        let address = self.template.address();
        if shift < address.family().bits() - u32::from(self.template.prefix()) {
            return Some(BOTH);
        }
        let inside = |f: &&Field| (f.shift..f.shift + f.bits).contains(&shift);
        let Some(field) = address.fields().iter().find(inside) else {
            return (address.literal() >> shift & 1 == u128::from(bit)).then_some(BOTH);
        };
        let (low, high) = self.bounds.get(field.name.as_str())?;
        let at = shift - field.shift;
        let starts = at + 1 == field.bits;
        let before = if starts { BOTH } else { touching };
        let (low, high) = ((low >> at & 1) as u8, (high >> at & 1) as u8);
        let below = before.lowest && bit < low;
        let above = before.highest && bit > high;
        let after = Touching {
            lowest: before.lowest && bit == low,
            highest: before.highest && bit == high,
        };
        // Nothing of a field is left to know after its last bit.
        let after = if at == 0 { BOTH } else { after };
        (!below && !above).then_some(after)
    }
}
