//! The order of default routes, as metrics.
//!
//! A metric says all there is to know about an offer: the network's priority, then
//! the number in the interface's name, then the rest of the name. It is a function
//! of the attachment alone, so attachments can come in any order and at the same
//! time, and none needs to know of another.
//!
//! ```text
//! (priority + 1) × 10 000 000   +   number × 100 000   +   2 × name + 1
//! ```
//!
//! All of them are larger than the kernel's own metrics (0, and 1024 for IPv6), so
//! that no other plugin's route without a metric can become one more way of ours.

use std::ops::RangeInclusive;

/// The priorities there are; the lowest wins. More would not fit into the 31 bits
/// that every program can read.
pub const PRIORITIES: RangeInclusive<u32> = 0..=200;
/// The priority of a network that asks for none.
pub const DEFAULT_PRIORITY: u32 = 100;

const PRIORITY_STEP: u32 = 10_000_000;
const NUMBER_STEP: u32 = 100_000;
const LAST_NUMBER: u32 = 99;
/// The ways to call interfaces of which runtimes have one each.
const USUAL_NAMES: [&str; 2] = ["eth", "net"];

/// What a metric of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The network's priority.
    pub priority: u32,
    /// Whether the route is another plugin's that was set aside, so that it does
    /// not come before all others.
    pub is_set_aside: bool,
}

/// The metric of the default route of a network with this priority.
pub fn metric(priority: u32, ifname: &str) -> u32 {
    (priority + 1) * PRIORITY_STEP + within_priority(ifname)
}

/// Where an interface comes among those of the same priority: less than the step
/// from one priority to the next.
pub(crate) fn within_priority(ifname: &str) -> u32 {
    let (number, name) = place(ifname);
    number * NUMBER_STEP + 2 * name + 1
}

/// The metric of a route to somewhere that names none: of several networks with the same
/// route the first interface's serves, in whatever order they were attached, and the
/// others stand by. For `eth1` it is 1, and for `eth0` none but the kernel's own;
/// interfaces with other names come after those.
pub(crate) fn metric_of_others(ifname: &str) -> u32 {
    let number = ifname.strip_prefix(USUAL_NAMES[0]).map(str::parse);
    match number {
        Some(Ok(number)) if number < NUMBER_STEP => number,
        _ => NUMBER_STEP + within_priority(ifname),
    }
}

/// The metric at which another plugin's default route without one is set aside: that
/// of a network which asks for no priority, but not the very same, so that it is
/// never confused with what the network's own attachment sets.
pub fn metric_aside(ifname: &str) -> u32 {
    metric(DEFAULT_PRIORITY, ifname) + 1
}

/// What a metric says, if it is one of ours.
pub fn read(metric: u32) -> Option<Rank> {
    let priority = (metric / PRIORITY_STEP).checked_sub(1)?;
    PRIORITIES.contains(&priority).then_some(Rank {
        priority,
        is_set_aside: metric.is_multiple_of(2),
    })
}

/// Where an interface stands: the number in its name, and a number for all of it.
fn place(ifname: &str) -> (u32, u32) {
    let stem = ifname.trim_end_matches(|c: char| c.is_ascii_digit());
    let number: u32 = ifname[stem.len()..].parse().unwrap_or(0);
    let usual = USUAL_NAMES.iter().position(|usual| *usual == stem);
    let name = match usual {
        Some(usual) if number < LAST_NUMBER => usual as u32,
        _ => other_name(ifname),
    };
    (number.min(LAST_NUMBER), name)
}

/// A number for a name that is none of the usual ones (Fowler–Noll–Vo 1a, folded):
/// two interfaces of one container hardly ever share it.
fn other_name(ifname: &str) -> u32 {
    const NUMBERS: u32 = NUMBER_STEP / 2 - USUAL_NAMES.len() as u32 - 1;
    let hash = ifname.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    USUAL_NAMES.len() as u32 + (hash ^ hash >> 16) % NUMBERS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn priority_then_number_then_name() {
        assert_eq!(metric(100, "eth0"), 1_010_000_001);
        assert_eq!(metric(100, "eth1"), 1_010_100_001);
        assert_eq!(metric(100, "net1"), 1_010_100_003);
        assert_eq!(metric(0, "eth0"), 10_000_001);
        assert_eq!(metric_aside("eth0"), 1_010_000_002);
        let names = ["eth0", "net0", "front", "eth1", "back1", "eth98", "eth99"];
        let mut metrics: Vec<_> = names.iter().map(|name| metric(5, name)).collect();
        metrics.push(metric(6, "eth0"));
        assert!(metrics.is_sorted_by(|a, b| a < b), "{metrics:?}");
        assert_ne!(metric(5, "eth100"), metric(5, "eth101"));
        assert_ne!(metric(5, "front"), metric(5, "back"));
    }

    #[test]
    fn other_routes_keep_apart_too() {
        let names = [
            "eth0",
            "eth1",
            "eth99999",
            "net0",
            "front",
            "back",
            "net1",
            "eth100000",
        ];
        let metrics: Vec<_> = names.iter().map(|name| metric_of_others(name)).collect();
        assert_eq!(metrics[..3], [0, 1, 99_999]);
        let distinct: std::collections::BTreeSet<_> = metrics.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{metrics:?}");
        assert!(
            metrics[3..]
                .iter()
                .all(|metric| *metric > 99_999 && *metric < PRIORITY_STEP * 2)
        );
    }

    proptest! {
        #[test]
        fn metrics_keep_apart_and_can_be_read(
            priority in PRIORITIES, other in PRIORITIES,
            ifname in "[a-z]{1,10}[0-9]{0,5}", second in "[a-z]{1,10}[0-9]{0,5}",
        ) {
            let one = metric(priority, &ifname);
            prop_assert!(one > 1024 && one <= i32::MAX as u32);
            prop_assert_eq!(read(one), Some(Rank { priority, is_set_aside: false }));
            let aside = read(metric_aside(&ifname)).unwrap();
            prop_assert!(aside.is_set_aside && aside.priority == DEFAULT_PRIORITY);
            if priority < other {
                prop_assert!(one < metric(other, &second));
                prop_assert!(metric_aside(&ifname) != one);
            }
        }

        #[test]
        fn the_kernels_own_metrics_are_not_ours(metric in 0..10_000_000_u32) {
            prop_assert_eq!(read(metric), None);
        }
    }
}
