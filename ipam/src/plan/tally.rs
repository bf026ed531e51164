//! What the places of a network have room for, and what is wrong at some of them: each is
//! looked at as its hosts will.

use std::net::IpAddr;

use place::{Bounds, Here, Location, Place};

use super::{Fault, Network, Whose, ranges_of};
use crate::Error;
use crate::config::RangeTemplate;
use crate::pool::Pool;

/// How many places are looked at one by one.
pub(super) const LOOKED_AT: usize = 1 << 20;

/// How many containers places have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// At the place that has least.
    pub least: u128,
    /// At the place that has most.
    pub most: u128,
    /// At all of them.
    pub all: u128,
}

impl Room {
    fn of(number: u128) -> Self {
        Room {
            least: number,
            most: number,
            all: number,
        }
    }

    fn and(self, number: u128) -> Self {
        Room {
            least: self.least.min(number),
            most: self.most.max(number),
            all: self.all.saturating_add(number),
        }
    }

    /// With places that were not looked at, which count as the one that has least.
    fn with_others(self, places: u128) -> Self {
        let others = self.least.saturating_mul(places);
        Room {
            all: self.all.saturating_add(others),
            ..self
        }
    }
}

/// Room at the places that were looked at: nothing while there was none, and no number
/// where any number of containers has room.
type Counted = Option<Option<Room>>;

/// Adds what a place has room for; none is any number.
fn count(counted: &mut Counted, number: Option<u128>) {
    *counted = Some(match (*counted, number) {
        (None, number) => number.map(Room::of),
        (Some(room), number) => room.zip(number).map(|(room, number)| room.and(number)),
    });
}

/// Something that is so at some places: at which first, at how many more, and what.
#[derive(Debug)]
struct Seen<T> {
    first: Place,
    more: u128,
    what: T,
}

fn see<T>(seen: &mut Option<Seen<T>>, place: &Place, what: impl FnOnce() -> T) {
    match seen {
        Some(seen) => seen.more += 1,
        None => {
            *seen = Some(Seen {
                first: place.clone(),
                more: 0,
                what: what(),
            });
        }
    }
}

/// A reservation at the places that were looked at.
#[derive(Debug, Default)]
struct Reserved {
    is_anywhere: bool,
    outside: Option<Seen<IpAddr>>,
}

/// The places of one network.
pub(super) struct Tally<'a> {
    network: &'a Network,
    ranges: Vec<(Whose, &'a RangeTemplate)>,
    /// What a host has room for, with an address of each set.
    hosts: Counted,
    /// The same for each range.
    of_range: Vec<Counted>,
    /// Places whose configuration is wrong.
    wrong: Option<Seen<String>>,
    /// Places without an address in some set.
    barren: Option<Seen<String>>,
    /// For each range, places whose gateway is outside of the subnet.
    gateways: Vec<Option<Seen<IpAddr>>>,
    reservations: Vec<Reserved>,
}

impl<'a> Tally<'a> {
    /// Looks at the places, or at as many as there is time for.
    pub(super) fn of(network: &'a Network, fitting: &Bounds) -> Self {
        let ranges: Vec<(Whose, &RangeTemplate)> = ranges_of(network).collect();
        let reservations = network.addressing.reservations.iter();
        let mut tally = Tally {
            network,
            hosts: None,
            of_range: vec![None; ranges.len()],
            wrong: None,
            barren: None,
            gateways: ranges.iter().map(|_| None).collect(),
            reservations: reservations.map(|_| Reserved::default()).collect(),
            ranges,
        };
        for place in fitting.each().take(LOOKED_AT) {
            match pool_at(network, &place) {
                Err(error) => see(&mut tally.wrong, &place, || error.to_string()),
                Ok(pool) => tally.look(&place, &pool),
            }
        }
        let others = fitting.places().saturating_sub(LOOKED_AT as u128);
        let counted = std::iter::once(&mut tally.hosts).chain(&mut tally.of_range);
        for room in counted.flatten().flatten() {
            *room = room.with_others(others);
        }
        tally
    }

    /// The network's name.
    pub(super) fn network(&self) -> &str {
        &self.network.name
    }

    /// What hosts have room for, unless the configuration is wrong everywhere.
    pub(super) fn hosts(&self) -> Counted {
        self.hosts
    }

    /// The ranges, and what each has room for.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (&Whose, &'a RangeTemplate, Counted)> {
        let ranges = self.ranges.iter().zip(&self.of_range);
        ranges.map(|((whose, range), counted)| (whose, *range, *counted))
    }

    fn look(&mut self, place: &Place, pool: &Pool) {
        let sets: Vec<Vec<Option<u128>>> = pool.room();
        let of_set = |set: &Vec<Option<u128>>| {
            let add = |sum: u128, room: &Option<u128>| Some(sum.saturating_add((*room)?));
            set.iter().try_fold(0, add)
        };
        let of_sets = || sets.iter().map(of_set);
        count(&mut self.hosts, of_sets().flatten().min());
        for (counted, room) in self.of_range.iter_mut().zip(sets.iter().flatten()) {
            count(counted, *room);
        }
        if let Some(barren) = of_sets().position(|room| room == Some(0)) {
            see(&mut self.barren, place, || pool.sets()[barren].to_string());
        }
        let ranges = pool.sets().iter().flat_map(|set| set.ranges());
        for (seen, range) in self.gateways.iter_mut().zip(ranges) {
            let gateway = range.gateway();
            if let Some(gateway) = gateway.filter(|gateway| !range.subnet().contains(*gateway)) {
                see(seen, place, || gateway);
            }
        }
        for (reserved, address) in self.reservations.iter_mut().zip(pool.reserved()) {
            match pool.contains(address) {
                true => reserved.is_anywhere = true,
                false => see(&mut reserved.outside, place, || address),
            }
        }
    }

    /// What is wrong, and what the operator should know.
    pub(super) fn faults(self, bounds: &Bounds) -> Vec<Fault> {
        let network = &self.network.name;
        let wrong = self.wrong.map(|seen| Fault::AtPlace {
            network: network.clone(),
            place: seen.first,
            more: seen.more,
            message: seen.what,
        });
        let barren = self.barren.map(|seen| Fault::NoAddress {
            network: network.clone(),
            place: seen.first,
            more: seen.more,
            set: seen.what,
        });
        let gateways = self.gateways.into_iter().zip(&self.ranges);
        let gateways = gateways.filter_map(|(seen, (whose, range))| {
            let seen = seen?;
            let fields = range.gateway().is_some_and(|own| !own.fields().is_empty());
            Some(Fault::GatewayOutside {
                whose: whose.clone(),
                gateway: seen.what,
                place: seen.first,
                more: seen.more,
                is_of_place: fields,
            })
        });
        let templates = self.network.addressing.reservations.iter();
        let reservations = self.reservations.into_iter().zip(templates);
        let reservations = reservations.filter_map(|(reserved, (name, template))| {
            // One that leaves a field open is for the one host that has it.
            let names: Vec<&str> = template.fields().iter().map(|f| f.name.as_str()).collect();
            let varying: Vec<&str> = bounds.varying().collect();
            let is_of_place = !names.is_empty();
            let is_of_each = is_of_place && varying.iter().all(|field| names.contains(field));
            let seen = reserved.outside?;
            (is_of_each || !reserved.is_anywhere).then(|| Fault::ReservationOutside {
                network: network.clone(),
                name: name.clone(),
                address: seen.what,
                place: seen.first,
                more: seen.more,
                is_of_place,
            })
        });
        let faults = wrong.into_iter().chain(barren);
        faults.chain(gateways).chain(reservations).collect()
    }
}

fn pool_at(network: &Network, place: &Place) -> Result<Pool, Error> {
    let here = Here::new(Location::Literal(place.clone()));
    network.addressing.routes_at(&here)?;
    let addressing = &network.addressing;
    addressing.pool_at(&network.name, network.version, &here)
}
