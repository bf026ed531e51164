//! What the arithmetic of places and ranges promises, tried with random ones.

use std::net::IpAddr;

use ipam::family::{Family, number};
use ipam::range::{Bounds, Range, RangeSet};
use ipam::{Place, SubnetTemplate};
use ipnetwork::IpNetwork;
use proptest::prelude::*;

/// A part of an address: digits, or fields of these widths.
#[derive(Clone, Debug)]
enum Part {
    Literal(u16),
    Fields(Vec<u32>),
}

/// Widths that fill `left` bits.
fn widths(left: u32) -> BoxedStrategy<Vec<u32>> {
    if left == 0 {
        return Just(vec![]).boxed();
    }
    let rest = move |first| {
        widths(left - first).prop_map(move |mut rest| {
            rest.insert(0, first);
            rest
        })
    };
    (1..=left).prop_flat_map(rest).boxed()
}

fn part(width: u32) -> impl Strategy<Value = Part> {
    let literal = (0..(1u32 << width)).prop_map(|n| Part::Literal(n as u16));
    prop_oneof![
        literal,
        Just(Part::Fields(vec![width])),
        widths(width).prop_map(Part::Fields)
    ]
}

#[derive(Clone, Debug)]
struct Sample {
    text: String,
    /// Name and width of every field.
    fields: Vec<(String, u32)>,
    bits: u32,
    prefix: u32,
}

/// A template as the text of a configuration. Fields have names of their own.
fn sample() -> impl Strategy<Value = Sample> {
    let shape = prop_oneof![Just((4, 8, '.')), Just((8, 16, ':'))];
    let parts = shape.prop_flat_map(|(count, width, separator)| {
        let parts = prop::collection::vec(part(width), count);
        (
            parts,
            Just(width),
            Just(separator),
            any::<prop::sample::Index>(),
        )
    });
    parts.prop_map(|(parts, width, separator, longer)| {
        let mut text = String::new();
        let mut fields = Vec::new();
        let mut end_of_fields = 0;
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                text.push(separator);
            }
            match part {
                Part::Literal(n) if separator == '.' => text += &format!("{n}"),
                Part::Literal(n) => text += &format!("{n:x}"),
                Part::Fields(widths) => {
                    for bits in widths {
                        let name = format!("f{}", fields.len());
                        match *bits == width {
                            true => text += &format!("{{{name}}}"),
                            false => text += &format!("{{{name}:{bits}}}"),
                        }
                        fields.push((name, *bits));
                    }
                    end_of_fields = width * (index as u32 + 1);
                }
            }
        }
        let bits = width * parts.len() as u32;
        let prefix = end_of_fields + longer.index((bits - end_of_fields + 1) as usize) as u32;
        text += &format!("/{prefix}");
        Sample {
            text,
            fields,
            bits,
            prefix,
        }
    })
}

fn place(sample: &Sample, seed: &[u16]) -> Place {
    let value = |((name, bits), n): (&(String, u32), &u16)| {
        (name.clone(), u64::from(*n) & ((1 << bits) - 1))
    };
    sample.fields.iter().zip(seed).map(value).collect()
}

fn ends(subnet: IpNetwork) -> (u128, u128) {
    let family = Family::of(subnet.ip());
    let first = number(subnet.network());
    (first, first | family.host_bits(subnet.prefix()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Different places have different subnets, and no address is in two.
    #[test]
    fn distinct_places_have_distinct_subnets(
        sample in sample(),
        one in prop::collection::vec(any::<u16>(), 128),
        change in (any::<prop::sample::Index>(), any::<u16>()),
    ) {
        let template = SubnetTemplate::parse(&sample.text).unwrap();
        let mut other = one.clone();
        if !sample.fields.is_empty() {
            other[change.0.index(sample.fields.len())] = change.1;
        }
        let (one, other) = (place(&sample, &one), place(&sample, &other));
        let (a, b) = (ends(template.at_place(&one).unwrap()), ends(template.at_place(&other).unwrap()));
        if one == other {
            prop_assert_eq!(a, b);
        } else {
            prop_assert!(a.1 < b.0 || b.1 < a.0, "{} at {} and {}", sample.text, one, other);
        }
    }

    /// Every address of a subnet leads back to its place.
    #[test]
    fn every_address_leads_back(
        sample in sample(),
        seed in prop::collection::vec(any::<u16>(), 128),
        host in any::<u128>(),
    ) {
        let template = SubnetTemplate::parse(&sample.text).unwrap();
        let place = place(&sample, &seed);
        let subnet = template.at_place(&place).unwrap();
        let family = Family::of(subnet.ip());
        let address = family.address(number(subnet.network()) | host & family.host_bits(subnet.prefix()));
        prop_assert_eq!(template.place_of(address), Some(place));
        prop_assert_eq!(u32::from(template.prefix()), sample.prefix);
    }

    /// The structure says which bits of the address are whose: no bit has two
    /// fields, and all are in the prefix.
    #[test]
    fn fields_share_no_bit(sample in sample()) {
        let template = SubnetTemplate::parse(&sample.text).unwrap();
        let mut taken = 0u128;
        for field in template.address().fields() {
            let bits = u128::from(field.limit()) << field.shift;
            prop_assert_eq!(taken & bits, 0);
            prop_assert!(field.shift >= sample.bits - sample.prefix);
            taken |= bits;
        }
        let widths: Vec<_> = template.address().fields().iter().map(|f| (f.name.clone(), f.bits)).collect();
        prop_assert_eq!(widths, sample.fields);
    }

    /// Whatever is written as a template is read or refused; nothing panics.
    #[test]
    fn any_text_is_read_or_refused(text in "[0-9a-f.:{}/x%]{0,40}") {
        if let Ok(template) = SubnetTemplate::parse(&text) {
            prop_assert!(u32::from(template.prefix()) <= template.address().family().bits());
        }
    }

    /// Going around a set meets every address of its ranges once.
    #[test]
    fn a_round_meets_every_address(sizes in prop::collection::vec((0u32..40, 0u32..40), 1..5)) {
        let ranges = sizes.iter().enumerate().map(|(index, (from, length))| {
            let subnet: IpNetwork = format!("10.{index}.0.0/24").parse().unwrap();
            let at = |n: u32| Some(Family::V4.address(number(subnet.ip()) + u128::from(n)));
            Range::new(&Bounds { start: at(from + 2), end: at(from + 2 + length), ..Bounds::of(subnet) }).unwrap()
        });
        let set = RangeSet::new(ranges.collect()).unwrap();
        let all: u32 = sizes.iter().map(|(_, length)| length + 1).sum();
        let mut seen: Vec<IpAddr> = vec![set.start().address];
        while set.after(seen[seen.len() - 1]) != set.start() {
            seen.push(set.after(seen[seen.len() - 1]).address);
            prop_assert!(seen.len() <= all as usize);
        }
        seen.sort();
        seen.dedup();
        prop_assert_eq!(seen.len(), all as usize);
        prop_assert!(seen.iter().all(|address| set.candidate(*address).is_some()));
    }
}
