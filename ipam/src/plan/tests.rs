//! Plans that are right, and every way of being wrong.

use std::time::{Duration, Instant};

use cni::Config;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use place::{Here, Location};

use crate::Family;

fn network(name: &str, ipam: Value) -> Network {
    let config = json!({"name": name, "cniVersion": "1.0.0", "ipam": ipam});
    let config = Config::parse(config.to_string().as_bytes()).unwrap();
    Network {
        name: name.to_owned(),
        version: config.version,
        addressing: Addressing::read(&config).unwrap(),
    }
}

fn bounds(fields: &[(&str, &str)]) -> Bounds {
    let field = |(name, text): &(&str, &str)| ((*name).to_owned(), Bounds::parse(text).unwrap());
    fields.iter().map(field).collect()
}

/// The same room at each of so many places.
fn each(least: u128, places: u128) -> Option<Room> {
    let all = least.saturating_mul(places);
    Some(Room {
        least,
        most: least,
        all,
    })
}

fn data_centre() -> Bounds {
    bounds(&[("rack", "0-255"), ("slot", "0-255")])
}

#[test]
fn a_plan_that_is_right() {
    let networks = [
        network(
            "backend",
            json!({"ranges": [
                [{"subnet": "10.{rack}.{slot}.0/25"}],
                [{"subnet": "fd00:24:{rack}:{slot}::/64"}],
            ]}),
        ),
        network("frontend", json!({"subnet": "10.{rack}.{slot}.128/25"})),
    ];
    let start = Instant::now();
    let report = check(&networks, &data_centre());
    // In a test build; it is a fifth of that when it is optimised.
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(report.faults, []);
    assert_eq!(report.places, 65_536);
    let served = |index: usize| {
        let service = &report.services[index];
        (service.subnets, service.containers)
    };
    assert_eq!(served(0), (65_536, each(125, 65_536)));
    assert_eq!(served(1), (65_536, each((1 << 64) - 2, 65_536)));
    assert_eq!(served(2), (65_536, each(125, 65_536)));
    let backend = &report.services[0];
    let bits = |(name, first, last): &(String, u32, u32)| format!("{name} {first}-{last}");
    let fields: Vec<String> = backend.fields.iter().map(bits).collect();
    assert_eq!(fields, ["rack 9-16", "slot 17-24"]);
    let (first, last) = backend.ends.unwrap();
    assert_eq!(
        (first.to_string().as_str(), last.to_string().as_str()),
        ("10.0.0.0/25", "10.255.255.0/25")
    );
    let hosts: Vec<_> = report
        .served
        .iter()
        .map(|s| (s.hosts, s.containers))
        .collect();
    assert_eq!(
        hosts,
        [(65_536, each(125, 65_536)), (65_536, each(125, 65_536))]
    );
}

fn faults(networks: &[(&str, &str)], bounds: &Bounds) -> Vec<String> {
    let networks: Vec<Network> = networks
        .iter()
        .map(|(name, subnet)| network(name, json!({"subnet": subnet})))
        .collect();
    let faults = check(&networks, bounds).faults;
    faults.iter().map(|fault| format!("{fault:?}")).collect()
}

#[test]
fn every_way_of_being_wrong() {
    let all = data_centre();
    for (networks, bounds, expected) in [
        (
            vec![("a", "10.{rack}.{slot:4}{x:4}.0/24")],
            bounds(&[("slot", "3-20"), ("rack", "0-9"), ("x", "0")]),
            "DoesNotFit { whose: Whose { network: \"a\", key: \"ipam\", template: \"10.{rack}.{slot:4}{x:4}.0/24\" }, field: \"slot\", values: (16, 20), limit: 15",
        ),
        (
            vec![("a", "10.{rack}.{hall}.0/24")],
            bounds(&[("rack", "0-9")]),
            "Missing",
        ),
        (vec![("a", "10.{rack}.0.0/16")], all.clone(), "NotInSubnet"),
        (
            vec![("a", "{rack}.{slot}.0.0/16")],
            bounds(&[("rack", "100-130"), ("slot", "0")]),
            "block: \"127.0.0.0/8\"",
        ),
        (
            vec![("a", "{rack}.{slot}.0.0/16")],
            bounds(&[("rack", "224"), ("slot", "0")]),
            "multicast",
        ),
        (
            vec![("a", "169.{rack}.{slot}.0/24")],
            all.clone(),
            "link-local (RFC 3927)",
        ),
        (
            vec![
                ("a", "10.{rack}.{slot}.0/24"),
                ("b", "10.{slot}.{rack}.128/25"),
            ],
            all.clone(),
            "Overlap",
        ),
        (
            vec![("a", "10.{rack}.{slot}.0/24"), ("b", "10.7.0.0/16")],
            all.clone(),
            "Overlap",
        ),
    ] {
        let faults = faults(&networks, &bounds);
        assert!(
            faults.iter().any(|fault| fault.contains(expected)),
            "{networks:?}: {faults:?}"
        );
    }
    assert!(
        faults(
            &[("a", "10.{rack}.{slot}.0/24")],
            &bounds(&[("rack", "300-400")])
        )[0]
        .contains("DoesNotFit")
    );
    let sets = json!({"subnet": "10.{rack}.{slot}.0/24", "rangeStart": "10.{rack}.9.5"});
    let report = check(&[network("a", sets)], &all);
    assert!(
        matches!(&report.faults[..], [Fault::AtPlace { place, more: 65_279, .. }] if place.to_string() == "rack=0 slot=0"),
        "{:?}",
        report.faults
    );
}

/// What a place has room for follows from fields anywhere in the configuration, so each is
/// counted.
#[test]
fn places_differ() {
    let few = |slots: &str| bounds(&[("rack", "0-3"), ("slot", slots)]);
    let said = |network: Network, bounds: &Bounds| -> Vec<String> {
        let faults = check(&[network], bounds).faults.into_iter();
        faults
            .map(|fault| format!("{} {fault}", fault.is_grave()))
            .collect()
    };
    let one_each = || {
        let range = json!({"subnet": "10.{rack}.0.0/16", "rangeStart": "10.{rack}.0.{slot}",
            "rangeEnd": "10.{rack}.0.{slot}"});
        network("a", range)
    };
    let report = check(&[one_each()], &few("0-3"));
    let room = Room {
        least: 0,
        most: 1,
        all: 12,
    };
    assert_eq!(report.served[0].containers, Some(room));
    assert_eq!(report.services[0].containers, Some(room));
    let barren = "true network \"a\" at rack=0 slot=1 and 3 more places: no container gets an \
                  address of 10.0.0.1-10.0.0.1: gateways, exclusions and reservations leave none";
    assert_eq!(said(one_each(), &few("0-3")), [barren]);
    assert_eq!(said(one_each(), &few("1")), [barren]);
    assert_eq!(said(one_each(), &few("2-3")), [] as [&str; 0]);
    assert!(!check(&[one_each()], &few("1")).is_right());

    let subnet = "10.{rack}.{slot}.0/24";
    let crossed = network(
        "a",
        json!({"subnet": subnet, "gateway": "10.{slot}.{rack}.1"}),
    );
    assert_eq!(
        said(crossed, &few("0-3")),
        [
            "true network \"a\", ipam: 10.{rack}.{slot}.0/24 has the gateway 10.1.0.1, which is not in the subnet, at rack=0 slot=1 and 11 more places"
        ]
    );
    let anchored = network("a", json!({"subnet": subnet, "gateway": "169.254.1.1"}));
    let anchored = said(anchored, &few("0-3"));
    assert!(anchored[0].starts_with("false "), "{anchored:?}");

    for (reserved, expected) in [
        ("10.{rack}.{slot}.9", None),
        ("10.{rack}.2.9", None),
        ("10.3.2.9", None),
        (
            "10.{slot}.{rack}.9",
            Some(
                "true network \"a\", ipam.reservations.web: 10.1.0.9 is in no range at rack=0 slot=1 and 11 more places",
            ),
        ),
        (
            "10.{rack}.77.9",
            Some(
                "true network \"a\", ipam.reservations.web: 10.0.77.9 is in no range at rack=0 slot=0 and 15 more places",
            ),
        ),
        (
            "10.77.0.9",
            Some(
                "false network \"a\", ipam.reservations.web: 10.77.0.9 is in no range at rack=0 slot=0 and 15 more places",
            ),
        ),
    ] {
        let ipam = json!({"subnet": subnet, "reservations": {"web": reserved}});
        let said = said(network("a", ipam), &few("0-3"));
        assert_eq!(said, expected.as_slice(), "{reserved}");
    }
}

/// Hosts of a segment share a subnet and have a range each.
#[test]
fn ranges_of_a_common_subnet() {
    let all = data_centre();
    let range = |first: &str, last: &str| json!({"subnet": "10.{rack}.0.0/16", "gateway": "10.{rack}.0.1", "rangeStart": first, "rangeEnd": last});
    let whole = || range("10.{rack}.{slot}.2", "10.{rack}.{slot}.254");
    let report = check(&[network("a", whole())], &all);
    assert_eq!(report.faults, []);
    let service = &report.services[0];
    assert_eq!(
        (service.apart, service.subnets, service.places),
        (24, 256, 65_536)
    );
    let room = service.containers.unwrap();
    assert_eq!((room.least, room.most, room.all), (253, 253, 253 * 65_536));
    let lower = || range("10.{rack}.{slot}.2", "10.{rack}.{slot}.99");
    let upper = || range("10.{rack}.{slot}.100", "10.{rack}.{slot}.254");
    let kinds = |networks: &[Network]| -> Vec<&str> {
        check(networks, &all)
            .faults
            .iter()
            .map(Fault::kind)
            .collect()
    };
    assert_eq!(
        kinds(&[network("a", lower()), network("b", upper())]),
        ["common-subnet"]
    );
    assert_eq!(
        kinds(&[network("a", lower()), network("b", whole())]),
        ["overlap"]
    );
    assert_eq!(
        kinds(&[network("a", json!({"ranges": [[lower(), upper()]]}))]),
        [] as [&str; 0]
    );
    let crossed = json!({"subnet": "10.{slot}.0.0/16", "rangeStart": "10.{slot}.{rack}.100", "rangeEnd": "10.{slot}.{rack}.254"});
    assert_eq!(
        kinds(&[network("a", lower()), network("b", crossed)]),
        ["common-subnet"]
    );
    let around = json!({"subnet": "10.{rack}.0.0/16", "exclude": ["10.{rack}.{slot}.0/24"],
        "rangeStart": "10.{rack}.{slot}.1", "rangeEnd": "10.{rack}.{slot}.254"});
    assert_eq!(
        kinds(&[network("a", whole()), network("b", around)]),
        ["common-subnet", "no-address"]
    );
    assert_eq!(kinds(&[network("a", range("", ""))]), ["not-in-subnet"]);
    let crossed = range("10.{rack}.{slot}.2", "10.{rack}.255.254");
    assert_eq!(kinds(&[network("a", crossed)])[0], "not-in-subnet");
}

#[test]
fn what_is_shared_serves_any_number() {
    let ipam = json!({"ranges": [[{"subnet": "10.{rack}.{slot}.53/32", "shared": true}]]});
    let report = check(&[network("a", ipam)], &data_centre());
    assert_eq!(report.faults, []);
    assert_eq!(report.services[0].containers, None);
    assert_eq!(report.served[0].containers, None);
    let everywhere = |name: &str| network(name, json!({"subnet": "192.0.2.53/32", "shared": true}));
    let report = check(&[everywhere("a"), everywhere("b")], &data_centre());
    assert_eq!(report.faults, []);
    let alone = network("c", json!({"subnet": "192.0.2.0/24"}));
    let report = check(&[everywhere("a"), alone], &Bounds::default());
    assert_eq!(report.faults[0].kind(), "overlap");
}

#[test]
fn faults_say_what_would_be_right() {
    let all = data_centre();
    let networks = [network(
        "a",
        json!({"subnet": "10.{rack}.{slot:4}{x:4}.0/24"}),
    )];
    let report = check(&networks, &all);
    let said: Vec<String> = report.faults.iter().map(Fault::to_string).collect();
    assert_eq!(
        said,
        [
            "network \"a\", ipam: 10.{rack}.{slot:4}{x:4}.0/24: \"slot\" cannot be 16 to 255; its bits hold at most 15",
            "network \"a\", ipam: 10.{rack}.{slot:4}{x:4}.0/24 needs \"x\": say which values it has, as in --x 0-255",
        ]
    );
    assert!(!report.is_right());
}

#[test]
fn templates_that_do_not_meet() {
    let low = bounds(&[("rack", "0-99"), ("slot", "0-255")]);
    for (one, other) in [
        ("10.{rack}.{slot}.0/25", "10.{rack}.{slot}.128/25"),
        ("10.{rack}.{slot}.0/24", "10.100.{slot}.0/24"),
        ("10.{rack}.{slot}.0/24", "11.{rack}.{slot}.0/24"),
        ("10.{rack}.{rack}.0/24", "10.{rack}.200.0/24"),
    ] {
        let faults = faults(&[("a", one), ("b", other)], &low);
        let overlaps = faults.iter().filter(|fault| fault.starts_with("Overlap"));
        assert_eq!(overlaps.count(), 0, "{one} {other}: {faults:?}");
    }
}

#[test]
fn an_address_leads_to_its_network_and_place() {
    let networks = [
        network(
            "backend",
            json!({"subnet": "10.{rack}.{chassis:4}{slot:4}.0/25"}),
        ),
        network(
            "frontend",
            json!({"subnet": "10.{rack}.{chassis:4}{slot:4}.128/25"}),
        ),
    ];
    let found = whereabouts(&networks, "10.50.43.200".parse().unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].whose.network, "frontend");
    assert_eq!(found[0].place.to_string(), "chassis=2 rack=50 slot=11");
    assert_eq!(found[0].subnet.to_string(), "10.50.43.128/25");
    assert_eq!(whereabouts(&networks, "192.0.2.1".parse().unwrap()), []);
}

/// A template with small fields, so that all its places can be compared.
fn template() -> impl Strategy<Value = String> {
    let octet = prop_oneof![
        (0u8..4).prop_map(|n| n.to_string()),
        Just("{a}".to_owned()),
        Just("{b}".to_owned()),
        Just("{a:4}{b:4}".to_owned()),
        Just("{b:6}{a:2}".to_owned()),
    ];
    (octet.clone(), octet, 16u8..25)
        .prop_map(|(one, two, prefix)| format!("{one}.{two}.0.0/{prefix}"))
}

proptest! {
    /// What the structure says is what comparing all pairs finds.
    #[test]
    fn meeting_is_what_comparing_pairs_finds(
        one in template(),
        other in template(),
        a in (0u64..6, 0u64..6),
        b in (0u64..6, 0u64..6),
    ) {
        let bounds: Bounds = [("a", a), ("b", b)]
            .map(|(name, (low, more))| (name.to_owned(), (low, low + more)))
            .into_iter()
            .collect();
        let (one, other) = (SubnetTemplate::parse(&one).unwrap(), SubnetTemplate::parse(&other).unwrap());
        let all = |template: &SubnetTemplate| -> Vec<IpNetwork> {
            bounds.each().filter_map(|place| template.at_place(&place).ok()).collect()
        };
        let (ones, others) = (all(&one), all(&other));
        let overlap = |x: &IpNetwork, y: &IpNetwork| x.contains(y.ip()) || y.contains(x.ip());
        let expected = ones.iter().any(|x| others.iter().any(|y| overlap(x, y)));
        let found = meeting::meeting(&one, &other, &bounds);
        prop_assert_eq!(found.is_some(), expected);
        if let Some(number) = found {
            let address = Family::V4.address(number);
            prop_assert!(ones.iter().any(|net| net.contains(address)) || others.iter().any(|net| net.contains(address)));
        }
    }

    /// A range and one of another network, or the same: what the check says is what
    /// comparing the ranges of all pairs of places finds.
    #[test]
    fn overlaps_are_what_comparing_places_finds(
        one in range_template(),
        other in range_template(),
        a in (0u64..3, 0u64..3),
        b in (0u64..3, 0u64..3),
    ) {
        let bounds: Bounds = [("a", a), ("b", b)]
            .map(|(name, (low, more))| (name.to_owned(), (low, low + more)))
            .into_iter()
            .collect();
        let networks = [network("x", one), network("y", other)];
        let ranges = |network: &Network| -> Vec<crate::Range> {
            let at = |place| {
                let here = Here::new(Location::Literal(place));
                network.addressing.sets_at(&here).unwrap()[0].ranges()[0].clone()
            };
            bounds.each().map(at).collect()
        };
        let (ones, others) = (ranges(&networks[0]), ranges(&networks[1]));
        let expected = ones.iter().any(|x| others.iter().any(|y| x.common(y).is_some()));
        let report = check(&networks, &bounds);
        let found = report.faults.iter().find_map(|fault| match fault {
            Fault::Overlap { address, .. } => Some(*address),
            _ => None,
        });
        prop_assert_eq!(found.is_some(), expected, "{:?}", report.faults);
        if let Some(address) = found {
            prop_assert!(ones.iter().any(|range| range.contains(address)));
            prop_assert!(others.iter().any(|range| range.contains(address)));
        }
    }
}

/// A range whose ends have fields of the place, in a subnet that has them or not.
fn range_template() -> impl Strategy<Value = Value> {
    let blocks = prop_oneof![
        Just(("10.{a}.{b}.0/24", "10.{a}.{b}.")),
        Just(("10.{b}.{a}.0/24", "10.{b}.{a}.")),
        Just(("10.{a}.0.0/16", "10.{a}.{b}.")),
        Just(("10.0.0.0/8", "10.{b}.{a}.")),
        Just(("10.0.0.0/8", "10.{a}.{a}.")),
        Just(("10.1.0.0/16", "10.1.2.")),
    ];
    (blocks, 1u8..10, 0u8..10).prop_map(|((subnet, begin), first, more)| {
        json!({"subnet": subnet, "rangeStart": format!("{begin}{first}"), "rangeEnd": format!("{begin}{}", first + more)})
    })
}
