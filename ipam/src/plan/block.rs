//! The part of its subnet that a range stays in.
//!
//! Hosts of one segment may share a subnet and have a range each:
//! `10.{rack}.0.0/16` from `10.{rack}.{slot}.2` to `10.{rack}.{slot}.254`. What the
//! ends of a range have in common at every place is a template as well, here
//! `10.{rack}.{slot}.0/24`, and says as much about overlaps as that of a subnet.

use place::template::Field;
use place::{AddressTemplate, Family, SubnetTemplate};

use crate::config::RangeTemplate;

/// The smallest block that holds a range, wherever the host stands.
pub(super) fn block(range: &RangeTemplate) -> SubnetTemplate {
    let subnet = &range.subnet;
    let family = subnet.address().family();
    let of_family = |end: &&AddressTemplate| end.family() == family;
    let ends = range.start().filter(of_family);
    let ends = ends.zip(range.end().filter(of_family));
    ends.map_or_else(
        || subnet.clone(),
        |(start, end)| match common_bits(start, end) {
            more if more > subnet.prefix() => SubnetTemplate::of_first_bits(start, more),
            _ => subnet.clone(),
        },
    )
}

/// The blocks that make up a range exactly, wherever the host stands; the one that it
/// stays in when its ends cannot be taken apart.
pub(super) fn blocks(range: &RangeTemplate) -> Vec<SubnetTemplate> {
    let whole = vec![block(range)];
    let subnet = &range.subnet;
    let family = subnet.address().family();
    let literal = subnet.address().literal();
    let (first, last) = usual_ends(subnet);
    let end = |said: Option<&AddressTemplate>, usual: u128| match said {
        Some(said) => said.clone(),
        None => subnet.address().with_literal(literal + usual),
    };
    let (start, end) = (end(range.start(), first), end(range.end(), last));
    if start.family() != family || end.family() != family {
        return whole;
    }
    let common = common_bits(&start, &end);
    let hosts = family.host_bits(common);
    let host_bits = family.bits() - u32::from(common);
    let fields = start.fields().iter().chain(end.fields());
    let is_apart = common >= subnet.prefix() && fields.into_iter().all(|f| f.shift >= host_bits);
    if !is_apart {
        return whole;
    }
    let above = start.literal() & !hosts;
    let intervals = powers(start.literal() & hosts, end.literal() & hosts);
    let block = |(at, bits): (u128, u32)| {
        let address = start.with_literal(above | at);
        SubnetTemplate::of_first_bits(&address, (family.bits() - bits) as u8)
    };
    intervals.into_iter().map(block).collect()
}

/// The first and the last number of a subnet's usual range, as [`Range::new`] has it.
///
/// [`Range::new`]: crate::Range::new
fn usual_ends(subnet: &SubnetTemplate) -> (u128, u128) {
    let family = subnet.address().family();
    let last = family.host_bits(subnet.prefix());
    match family {
        _ if last < 3 => (0, last),
        Family::V4 => (1, last - 1),
        Family::V6 => (1, last),
    }
}

/// Takes an interval apart into aligned powers of two: where each begins, and how
/// many bits it has.
fn powers(first: u128, last: u128) -> Vec<(u128, u32)> {
    let mut powers = Vec::new();
    let mut next = Some(first);
    while let Some(at) = next.filter(|at| *at <= last) {
        let room = (last - at).saturating_add(1).ilog2();
        let bits = at.trailing_zeros().min(room);
        powers.push((at, bits));
        next = 1u128
            .checked_shl(bits)
            .and_then(|size| at.checked_add(size));
    }
    powers
}

/// Whether what a range excludes covers a block of another's, at whatever places the
/// two stand: it has the same bits as far as it goes, and its fields are fields of
/// the range as well, so that the address tells which host excludes it.
pub(super) fn is_excluded(range: &RangeTemplate, block: &SubnetTemplate) -> bool {
    let own = self::block(range);
    let own = own.address().fields();
    range.excluded().any(|excluded| {
        let prefix = excluded.prefix();
        let begin = SubnetTemplate::of_first_bits(block.address(), prefix);
        prefix <= block.prefix()
            && begin.address().literal() == excluded.address().literal()
            && begin.address().fields() == excluded.address().fields()
            && excluded
                .address()
                .fields()
                .iter()
                .all(|field| own.contains(field))
    })
}

/// Whether all bits of a field are in a subnet's prefix.
pub(super) fn contains(subnet: &SubnetTemplate, field: &str) -> bool {
    let host_bits = subnet.address().family().bits() - u32::from(subnet.prefix());
    let fields = subnet.address().fields().iter();
    fields
        .filter(|f| f.name == field)
        .any(|f| f.shift >= host_bits)
}

/// How many bits two addresses have in common at every place.
fn common_bits(one: &AddressTemplate, other: &AddressTemplate) -> u8 {
    let bits = (0..one.family().bits()).rev();
    let common = bits.take_while(|shift| bit(one, *shift) == bit(other, *shift));
    common.count() as u8
}

/// Which bit of which field is at `shift`, or which literal bit.
fn bit(address: &AddressTemplate, shift: u32) -> (Option<(&str, u32)>, bool) {
    let inside = |f: &&Field| (f.shift..f.shift + f.bits).contains(&shift);
    let field = address.fields().iter().find(inside);
    let literal = address.literal() >> shift & 1 == 1;
    (
        field.map(|f| (f.name.as_str(), shift - f.shift)),
        literal && field.is_none(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_taken_apart() {
        for (first, last, expected) in [
            (0, 255, "0/8"),
            (
                1,
                254,
                "1/0 2/1 4/2 8/3 16/4 32/5 64/6 128/6 192/5 224/4 240/3 248/2 252/1 254/0",
            ),
            (5, 5, "5/0"),
            (6, 5, ""),
            (
                u128::MAX - 1,
                u128::MAX,
                "340282366920938463463374607431768211454/1",
            ),
        ] {
            let powers: Vec<String> = powers(first, last)
                .iter()
                .map(|(at, bits)| format!("{at}/{bits}"))
                .collect();
            assert_eq!(powers.join(" "), expected);
        }
        assert_eq!(powers(0, u128::MAX), [(0, 127), (1 << 127, 127)]);
    }
}
