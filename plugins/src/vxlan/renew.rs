//! Changing a network that is in use: what its devices are follows the configuration, and
//! containers stay where they are.
//!
//! The kernel changes nothing of a VXLAN device that matters, so it is made anew beside
//! the bridge; until that has been done the network's hosts do not hear of each other, a
//! few milliseconds and what its entries take. Whenever it is killed the next sync finds
//! what is missing. A container's own MTU is the container's, and stays.

use kernel::{Link, Netlink, nft};

use super::blueprint::Blueprint;
use super::changes::{Changes, Far};
use super::compare::{self, Cure, Unlike};
use super::desired::Desired;
use super::fault::Fault;
use super::keys::Mode;
use super::router::{self, Duties, Router};
use super::{names, segment};
use crate::Result;

/// What is to become of a network's devices.
pub(super) struct Renewal {
    /// The device that leads to the other hosts, if there is one.
    far: Option<Far>,
    unlike: Vec<Unlike>,
}

impl Renewal {
    /// Finds out what is to be done.
    ///
    /// # Errors
    /// [`Fault::ModeInUse`], [`Fault::VniInUse`].
    pub(super) fn plan(
        host: &mut Netlink,
        network: &str,
        bridge: &Link,
        blueprint: &Blueprint,
    ) -> Result<Self> {
        let vni = blueprint.tunnel.vni;
        let far = Far::find(vni, blueprint.mode)?;
        let other = match blueprint.mode {
            Mode::L2 => Mode::L3,
            Mode::L3 => Mode::L2,
        };
        if far.is_none() && Far::find(vni, other)?.is_some() {
            return Err(Fault::ModeInUse(network.to_owned()).into());
        }
        let device = far.as_ref().map(|far| &far.device);
        let mut unlike = compare::unlike(network, bridge, device, blueprint)?;
        let known = Duties::known(host, vni)?;
        unlike.extend(router::unlike(host, network, vni, bridge, &known)?);
        let renewal = Renewal { far, unlike };
        if renewal.is_anew() {
            compare::could_be_built(host, blueprint)?;
        }
        Ok(renewal)
    }

    /// Without what the configuration says by now: an ADD joins what there is, and brings
    /// back what it cannot do without.
    pub(super) fn of_what_is_lost(mut self) -> Self {
        self.unlike.retain(|one| one.is_lost);
        self
    }

    /// Whether the device is made anew.
    pub(super) fn is_anew(&self) -> bool {
        self.unlike.iter().any(|one| one.cure == Cure::Anew)
    }

    /// What the device lacks of the other hosts, and has too much: all, if there is none.
    pub(super) fn entries(&mut self, desired: &Desired) -> Result<Changes> {
        match &mut self.far {
            Some(far) => Changes::of(far, desired),
            None => Ok(Changes::from_nothing(desired)),
        }
    }

    /// In words, one a change.
    pub(super) fn words(&self) -> Vec<String> {
        self.unlike.iter().map(Unlike::to_string).collect()
    }

    /// Does it, and returns the device, which then knows the other hosts if it is new.
    pub(super) fn carry_out(
        mut self,
        host: &mut Netlink,
        network: &str,
        bridge: &Link,
        blueprint: &Blueprint,
    ) -> Result<Option<Far>> {
        if !nft::is_guarded_link(&bridge.name)? {
            nft::guard_link(&bridge.name, &names::device(blueprint.tunnel.vni), None)?;
        }
        if self.is_anew() {
            if let Some(far) = &mut self.far {
                far.ask(&[kernel::delete_link(far.device.index)])?;
            }
            segment::make_device(host, network, bridge, blueprint)?;
            self.far = Far::find(blueprint.tunnel.vni, blueprint.mode)?;
            if let Some(far) = self.far.as_mut().filter(|_| blueprint.desired.is_ours()) {
                far.apply(&Changes::from_nothing(&blueprint.desired))?;
            }
        }
        if self.unlike.iter().any(|one| one.cure == Cure::Serve) {
            let vni = blueprint.tunnel.vni;
            router::serve(host, vni, network, bridge, &Duties::default())?;
        }
        if let Some(far) = self.far.as_mut().filter(|_| !self.unlike.is_empty()) {
            let device = far.device.index;
            far.ask(&[
                kernel::set_mtu(device, blueprint.mtu),
                kernel::set_state(device, true),
            ])?;
            if blueprint.mode == Mode::L2 {
                far.ask(&[kernel::set_port_role(device, blueprint.role)])?;
            }
            set_mtu_of_router(host, blueprint)?;
            if nft::link_limit(&far.device.name)? != blueprint.storm_limit {
                nft::limit_link(&far.device.name, blueprint.storm_limit)?;
            }
            let mark = names::bridge_mark(network, blueprint.is_fixed);
            host.apply(&[
                kernel::set_mtu(bridge.index, blueprint.mtu),
                kernel::set_up_as(bridge.index, &mark),
            ])?;
        }
        Ok(self.far)
    }
}

/// Sets the MTU of both ends of the router's cables, if there are some.
fn set_mtu_of_router(host: &mut Netlink, blueprint: &Blueprint) -> Result<()> {
    let vni = blueprint.tunnel.vni;
    for name in [names::gateway_port(vni), names::exit_port(vni)] {
        if let Some(port) = host.link(&name)? {
            host.apply(&[kernel::set_mtu(port.index, blueprint.mtu)])?;
        }
    }
    match Router::open(vni)? {
        Some(mut router) => router.set_mtu(blueprint.mtu),
        None => Ok(()),
    }
}
