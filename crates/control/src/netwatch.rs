//! News of the kernel's links, addresses, routes and neighbours (rtnetlink(7)), so that changes are followed when they happen.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

/// Multicast groups (RTNLGRP_*): links, neighbours, and of both families addresses, routes and rules.
const GROUPS: [u32; 8] = [1, 3, 5, 7, 8, 9, 11, 19];

/// Large enough for any single message.
const MESSAGE: usize = 32 * 1024;

/// Messages that are looked at in one round.
const MOST: usize = 256;

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// A link: up, down, MTU.
    pub(crate) links: bool,
    /// Something that next hops depend on.
    pub(crate) hops: bool,
}

/// What news matters: of the addresses that somebody wants to reach.
pub(crate) trait Matters {
    /// Whether a neighbour with this address does.
    fn neighbour(&self, address: IpAddr) -> bool;

    /// Whether routes to an address and those that begin with the same bits do.
    fn route(&self, prefix: Prefix) -> bool;
}

/// The first bits of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// Whether an address begins with it.
    pub(crate) fn covers(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.length).min(32)
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.length).min(128)
            }
            _ => false,
        }
    }
}

/// Hears the kernel's news.
pub(crate) struct NetWatch {
    socket: Socket,
    memory: Vec<u8>,
}

impl NetWatch {
    /// Subscribes.
    ///
    /// # Errors
    /// The system gives no socket.
    pub(crate) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self { socket, memory: vec![0; MESSAGE] })
    }

    /// What has changed since the last call. Neighbours and routes count only if they matter.
    pub(crate) fn changed(&mut self, matters: &impl Matters) -> Changed {
        let mut changed = Changed::default();
        for _ in 0..MOST {
            match self.socket.recv(&mut &mut self.memory[..], 0) {
                Ok(length) => match NetlinkMessage::deserialize(&self.memory[..length]) {
                    Ok(message) => changed.note(&message, matters),
                    // Of a kind that the library does not know: better to look once too often.
                    Err(_) => changed.hops = true,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // ENOBUFS: more news than there was room for.
                Err(_) => changed = Changed { links: true, hops: true },
            }
        }
        changed
    }
}

impl Changed {
    fn note(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>, matters: &impl Matters) {
        let NetlinkPayload::InnerMessage(inner) = &message.payload else { return };
        match inner {
            RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => {
                *self = Self { links: true, hops: true };
            }
            RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour) => {
                self.hops |= address(neighbour).is_some_and(|address| matters.neighbour(address));
            }
            // A hub may be one of the routers, and see the whole Internet come and go.
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                self.hops |= prefix(route).is_none_or(|prefix| matters.route(prefix));
            }
            _ => self.hops = true,
        }
    }
}

fn address(neighbour: &NeighbourMessage) -> Option<IpAddr> {
    neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

/// What a route leads to. `None`: it cannot be told.
fn prefix(route: &RouteMessage) -> Option<Prefix> {
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(to) => Some(to),
        _ => None,
    });
    let address = match (to, route.header.address_family) {
        (Some(RouteAddress::Inet(address)), _) => (*address).into(),
        (Some(RouteAddress::Inet6(address)), _) => (*address).into(),
        // A default route has none.
        (None, AddressFamily::Inet) => Ipv4Addr::UNSPECIFIED.into(),
        (None, AddressFamily::Inet6) => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    Some(Prefix { address, length: route.header.destination_prefix_length })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One address that is to be reached, by one next hop.
    struct One(IpAddr, IpAddr);

    impl Matters for One {
        fn neighbour(&self, address: IpAddr) -> bool {
            address == self.1
        }

        fn route(&self, prefix: Prefix) -> bool {
            prefix.covers(self.0)
        }
    }

    fn one() -> One {
        One("198.51.100.7".parse().expect("an address"), "192.0.2.254".parse().expect("an address"))
    }

    /// Whether next hops are asked for after news of a route.
    fn is_news(family: AddressFamily, to: Option<&str>, length: u8) -> bool {
        let mut route = RouteMessage::default();
        route.header.address_family = family;
        route.header.destination_prefix_length = length;
        let to = to.map(|to| to.parse::<IpAddr>().expect("an address").into());
        route.attributes.extend(to.map(RouteAttribute::Destination));
        let mut changed = Changed::default();
        for message in [RouteNetlinkMessage::NewRoute(route.clone()), RouteNetlinkMessage::DelRoute(route)] {
            changed.note(&NetlinkMessage::from(message), &one());
        }
        changed.hops
    }

    #[test]
    fn a_route_is_news_to_those_who_take_it() {
        assert!(is_news(AddressFamily::Inet, Some("198.51.100.0"), 24));
        assert!(is_news(AddressFamily::Inet, Some("198.51.100.7"), 32));
        assert!(is_news(AddressFamily::Inet, None, 0), "the default route");
        assert!(!is_news(AddressFamily::Inet, Some("198.51.101.0"), 24));
        assert!(!is_news(AddressFamily::Inet, Some("198.51.100.6"), 32));
        assert!(!is_news(AddressFamily::Inet6, None, 0), "of the other family");
        assert!(!is_news(AddressFamily::Inet6, Some("2001:db8::"), 32));
        // What cannot be told is looked at.
        assert!(is_news(AddressFamily::Mpls, None, 20));
    }

    #[test]
    fn other_news_is_looked_at_once_too_often() {
        let mut changed = Changed::default();
        let rule = RouteNetlinkMessage::NewRule(Default::default());
        changed.note(&NetlinkMessage::from(rule), &one());
        assert_eq!(changed, Changed { links: false, hops: true });
    }

    #[test]
    fn there_is_no_news_when_nothing_happens() {
        let mut watch = NetWatch::new().expect("a socket");
        // Others may use this machine's network meanwhile; but it does not change all the time.
        let quiet = (0..50).any(|_| watch.changed(&one()) == Changed::default());
        assert!(quiet);
    }
}
