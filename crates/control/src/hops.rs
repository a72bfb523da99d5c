//! The next hops that the workers' tables need: asked of the kernel, and again when it has news.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use config::{Config, Device, Role};
use session::{Now, Uplink, Uplinks};
use wire::way::Way;

use crate::netwatch::{Matters, NetWatch, Prefix};
use crate::nexthop::{NextHop, Routes};

/// How often next hops are asked for: soon while one is missing; else seldom, since the kernel tells of changes.
const MISSING: Duration = Duration::from_millis(100);
const KNOWN: Duration = Duration::from_secs(5);

/// At most one look in this time, however much news there is: at least, and for each goal. One goal takes two or three questions to
/// the kernel, some 20 µs, so that looking takes no more than a tenth of the control thread's time.
const CALM: Duration = Duration::from_millis(10);
const CALM_OF_GOAL: Duration = Duration::from_micros(250);

/// How long the way that a challenge goes by is kept.
const CHALLENGE_LIFE: Duration = Duration::from_secs(5);

/// Most ways that challenges go by at one time, so that strangers cannot fill the memory.
const MAX_CHALLENGED: usize = 1024;

/// Where something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Goal {
    /// The uplink port that it has to leave by.
    port: Option<u8>,
    /// The address that it comes from.
    local: Option<IpAddr>,
    to: IpAddr,
}

impl From<&Way> for Goal {
    fn from(way: &Way) -> Self {
        Self { port: Some(way.port), local: way.local, to: way.peer.ip() }
    }
}

impl From<IpAddr> for Goal {
    fn from(to: IpAddr) -> Self {
        Self { port: None, local: None, to }
    }
}

/// An uplink's interface, as the kernel knows it.
struct Interface {
    port: u8,
    name: String,
    /// The port's own MTU.
    mtu: u16,
    /// Whether records leave by the interface itself, so that its MTU holds for them.
    itself: bool,
}

/// What is to be reached, and how: all that was asked for, and of it what is known.
#[derive(Default)]
struct Goals {
    all: HashSet<Goal>,
    known: HashMap<Goal, NextHop>,
}

impl Matters for Goals {
    fn neighbour(&self, address: IpAddr) -> bool {
        self.known.values().any(|hop| hop.via == address)
    }

    fn route(&self, prefix: Prefix) -> bool {
        self.all.iter().any(|goal| prefix.covers(goal.to))
    }
}

impl Goals {
    /// How long to wait after one look before the next.
    fn calm(&self) -> Duration {
        CALM.max(CALM_OF_GOAL * self.all.len().min(4000) as u32)
    }
}

/// All next hops.
pub(crate) struct Hops {
    routes: Routes,
    watch: NetWatch,
    uplinks: Vec<Interface>,
    goals: Goals,
    challenged: HashMap<Way, Now>,
    due: Now,
    looked: Now,
    links_changed: bool,
}

impl Hops {
    /// None yet.
    ///
    /// # Errors
    /// The system gives no netlink socket.
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        let uplink = |(at, port): (usize, &config::Port)| {
            let name = port.interface.clone().filter(|_| port.role == Role::Uplink)?;
            let itself = matches!(port.device, Device::AfPacket(_) | Device::Kernel(_));
            Some(Interface { port: at as u8, name, mtu: port.mtu, itself })
        };
        Ok(Self {
            routes: Routes::new()?,
            watch: NetWatch::new()?,
            uplinks: config.ports.iter().enumerate().filter_map(uplink).collect(),
            goals: Goals::default(),
            challenged: HashMap::new(),
            due: Now::ZERO,
            looked: Now::ZERO,
            links_changed: true,
        })
    }

    /// The next hop towards a goal, if it is known.
    pub(crate) fn get(&self, goal: impl Into<Goal>) -> Option<&NextHop> {
        self.goals.known.get(&goal.into())
    }

    /// The Linux interface of an uplink port.
    pub(crate) fn interface(&self, port: u8) -> Option<&str> {
        self.uplinks.iter().find(|uplink| uplink.port == port).map(|uplink| uplink.name.as_str())
    }

    /// To be looked at soon.
    pub(crate) fn hurry(&mut self) {
        self.due = Now::ZERO;
    }

    /// A challenge is about to go by this way, so that its next hop has to be known.
    pub(crate) fn challenge(&mut self, now: Now, way: Way) {
        if self.challenged.len() < MAX_CHALLENGED || self.challenged.contains_key(&way) {
            self.challenged.insert(way, now + CHALLENGE_LIFE);
            self.meet(&way);
        }
    }

    /// Whether it is time for [`Hops::resolve`].
    pub(crate) fn is_due(&mut self, now: Now) -> bool {
        let changed = self.watch.changed(&self.goals);
        self.links_changed |= changed.links;
        if changed.hops {
            self.due = Now::ZERO;
        }
        now >= self.due && now >= self.looked + self.goals.calm()
    }

    /// The uplinks as they are now, if their links may have changed.
    pub(crate) fn uplinks(&mut self) -> Option<Uplinks> {
        if !std::mem::take(&mut self.links_changed) {
            return None;
        }
        let uplink = |interface: &Interface| {
            let read = |name| fs::read_to_string(format!("/sys/class/net/{}/{name}", interface.name));
            let own = read("mtu").ok().and_then(|text| text.trim().parse::<u32>().ok());
            let own = own.filter(|_| interface.itself).map_or(interface.mtu, |own| own.min(65_535) as u16);
            // An interface that is set down says nothing of its carrier, but an error.
            let up = read("carrier").is_ok_and(|text| text.trim() == "1");
            Uplink { port: interface.port, mtu: interface.mtu.min(own), up }
        };
        Some(Uplinks(self.uplinks.iter().map(uplink).collect()))
    }

    /// Asks for the next hop of every way and address, and of challenges. Returns whether one has changed.
    pub(crate) fn resolve(
        &mut self,
        now: Now,
        ways: impl Iterator<Item = Way>,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> bool {
        self.challenged.retain(|_, until| now < *until);
        let challenged = self.challenged.keys().map(Goal::from);
        let goals: HashSet<Goal> =
            ways.map(|way| Goal::from(&way)).chain(addresses.map(Goal::from)).chain(challenged).collect();
        let (mut changed, mut missing) = (false, false);
        for goal in &goals {
            changed |= self.ask(*goal);
            missing |= self.goals.known.get(goal).is_none_or(|hop| hop.mac.is_none());
        }
        self.goals.known.retain(|goal, _| goals.contains(goal));
        self.goals.all = goals;
        self.looked = now;
        self.due = now + if missing { MISSING } else { KNOWN };
        changed
    }

    /// Asks for the next hop of a way that may be new. Returns whether it has changed.
    pub(crate) fn meet(&mut self, way: &Way) -> bool {
        let goal = Goal::from(way);
        if self.goals.known.contains_key(&goal) {
            return false;
        }
        self.goals.all.insert(goal);
        let changed = self.ask(goal);
        if self.goals.known.get(&goal).is_none_or(|hop| hop.mac.is_none()) {
            self.due = self.due.min(self.looked + MISSING);
        }
        changed
    }

    /// Asks for one next hop. Returns whether it has changed.
    fn ask(&mut self, goal: Goal) -> bool {
        let interface = goal.port.and_then(|port| self.interface(port));
        // If the interface is gone, so is the route.
        let index = interface.map(|name| nix::net::if_::if_nametoindex(name).unwrap_or(u32::MAX));
        let hop = self.routes.resolve(goal.to, index, goal.local);
        let old = self.goals.known.get(&goal);
        match hop {
            Ok(hop) => {
                // A known MAC address is kept while the kernel confirms it.
                let same = old.filter(|old| (old.via, old.interface) == (hop.via, hop.interface));
                let hop = NextHop { mac: hop.mac.or_else(|| same?.mac), ..hop };
                let changed = old != Some(&hop);
                if changed {
                    tracing::debug!(to = %goal.to, ?hop, "next hop");
                    self.goals.known.insert(goal, hop);
                }
                changed
            }
            Err(error) => {
                let lost = self.goals.known.remove(&goal).is_some();
                if lost {
                    tracing::warn!(address = %goal.to, %error, "lost the route");
                }
                lost
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_goals_are_looked_at_less_often() {
        let goals = |count: u32| {
            let goal = |at: u32| Goal::from(IpAddr::from(std::net::Ipv4Addr::from_bits(at)));
            Goals { all: (0..count).map(goal).collect(), known: HashMap::new() }
        };
        assert_eq!(goals(1).calm(), CALM);
        assert_eq!(goals(1000).calm(), Duration::from_millis(250));
        assert!(goals(9000).calm() <= Duration::from_secs(1));
    }
}
