//! The part of its subnet that a range stays in.
//!
//! Hosts of one segment may share a subnet and have a range each:
//! `10.{rack}.0.0/16` from `10.{rack}.{slot}.2` to `10.{rack}.{slot}.254`. What the
//! ends of a range have in common at every place is a template as well, here
//! `10.{rack}.{slot}.0/24`, and says as much about overlaps as that of a subnet.

use place::template::Field;
use place::{AddressTemplate, Bounds, SubnetTemplate};

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

/// Whether two blocks can only meet at one and the same place: as far as both go
/// they are the same template, and every field that has more than one value is in it.
pub(super) fn meet_at_one_place(
    one: &SubnetTemplate,
    other: &SubnetTemplate,
    bounds: &Bounds,
) -> bool {
    let prefix = one.prefix().min(other.prefix());
    let [one, other] = [one, other].map(|it| SubnetTemplate::of_first_bits(it.address(), prefix));
    let is_whole = |field: &str| contains(&one, field);
    one.address().literal() == other.address().literal()
        && one.address().fields() == other.address().fields()
        && bounds.varying().all(is_whole)
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
