//! Next hops, asked of the kernel over netlink: it does routing, ARP and neighbour discovery, and we write
//! none of that.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use wire::mac::MacAddr;

/// Large enough for any single answer of the kernel.
const ANSWER: usize = 16 * 1024;

/// How to reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextHop {
    /// The number of the interface that the route leaves by.
    pub interface: u32,
    /// The address that the kernel would send from.
    pub source: IpAddr,
    /// The next hop's address.
    pub via: IpAddr,
    /// The next hop's MAC address; `None` while it is being resolved.
    pub mac: Option<MacAddr>,
}

/// Asks the kernel for next hops. Every call is answered by the kernel at once.
pub(crate) struct Routes {
    socket: Socket,
    sequence: u32,
}

impl Routes {
    /// Opens the netlink socket.
    ///
    /// # Errors
    /// The system gives no socket.
    pub(crate) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The way to `to`, through an interface and from a local address if these are given; starts resolving its MAC address when that
    /// is not known, and keeps it fresh when it is.
    ///
    /// # Errors
    /// There is no route, as the kernel puts it.
    pub(crate) fn resolve(
        &mut self,
        to: IpAddr,
        interface: Option<u32>,
        local: Option<IpAddr>,
    ) -> io::Result<NextHop> {
        let whole = if to.is_ipv4() { 32 } else { 128 };
        let mut route = RouteMessage::default();
        route.header.address_family = family(to);
        route.header.destination_prefix_length = whole;
        route.attributes.push(RouteAttribute::Destination(to.into()));
        if let Some(local) = local {
            route.header.source_prefix_length = whole;
            route.attributes.push(RouteAttribute::Source(local.into()));
        }
        route.attributes.extend(interface.map(RouteAttribute::Oif));
        let answer = self.ask(RouteNetlinkMessage::GetRoute(route), NLM_F_REQUEST)?;
        let Some(RouteNetlinkMessage::NewRoute(route)) = answer else {
            return Err(io::Error::other("the kernel gave no route"));
        };
        let interface_given = interface.is_some();
        let (mut interface, mut source, mut via) = (0, None, to);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = *index,
                RouteAttribute::PrefSource(address) => source = ip(address),
                RouteAttribute::Gateway(address) => via = ip(address).unwrap_or(to),
                _ => {}
            }
        }
        if interface_given && local.is_none() && via == to {
            self.is_in_table(to, interface)?;
        }
        let source = local.or(source).ok_or_else(|| io::Error::other("the route has no source address"))?;
        let (mac, fresh) = self.neighbour(interface, via);
        if !fresh {
            // Refused only where there is nothing to resolve, as on a loopback interface.
            let _ = self.use_neighbour(interface, via);
        }
        Ok(NextHop { interface, source, via, mac })
    }

    /// Whether a table has a route by this interface. Without one, Linux takes every IPv4 address for a neighbour on an interface that is
    /// asked for, and would look for it with the address of another: who hears that learns nothing of ours.
    fn is_in_table(&mut self, to: IpAddr, interface: u32) -> io::Result<()> {
        let mut route = RouteMessage::default();
        route.header.address_family = family(to);
        route.header.destination_prefix_length = if to.is_ipv4() { 32 } else { 128 };
        route.header.flags = RouteFlags::FibMatch;
        route.attributes.push(RouteAttribute::Destination(to.into()));
        route.attributes.push(RouteAttribute::Oif(interface));
        self.ask(RouteNetlinkMessage::GetRoute(route), NLM_F_REQUEST).map(drop)
    }

    /// The MAC address that the kernel has for a neighbour, and whether it is sure of it.
    fn neighbour(&mut self, interface: u32, address: IpAddr) -> (Option<MacAddr>, bool) {
        let message = RouteNetlinkMessage::GetNeighbour(neighbour_message(interface, address));
        let Ok(Some(RouteNetlinkMessage::NewNeighbour(found))) = self.ask(message, NLM_F_REQUEST) else {
            return (None, false);
        };
        let usable = !matches!(
            found.header.state,
            NeighbourState::None | NeighbourState::Incomplete | NeighbourState::Failed
        );
        let mac = found.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(octets) => octets[..].try_into().ok().map(MacAddr),
            _ => None,
        });
        (mac.filter(|_| usable), usable && found.header.state != NeighbourState::Stale)
    }

    /// Tells the kernel that the neighbour is in use: it resolves or confirms it.
    fn use_neighbour(&mut self, interface: u32, address: IpAddr) -> io::Result<()> {
        let mut message = neighbour_message(interface, address);
        message.header.flags = NeighbourFlags::Use;
        let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;
        self.ask(RouteNetlinkMessage::NewNeighbour(message), flags).map(drop)
    }

    /// Sends a request and returns its answer; `None` for a bare acknowledgement.
    pub(crate) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.header.length as usize];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = vec![0; ANSWER];
        loop {
            let length = self.socket.recv(&mut &mut answer[..], 0)?;
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer[..length])
                .map_err(|error| io::Error::other(error.to_string()))?;
            if message.header.sequence_number != self.sequence {
                continue; // the rest of an earlier answer
            }
            return match message.payload {
                NetlinkPayload::InnerMessage(inner) => Ok(Some(inner)),
                NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                _ => Ok(None),
            };
        }
    }
}

fn neighbour_message(interface: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = interface;
    let address = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_ourselves_is_known() {
        let hop = Routes::new()
            .and_then(|mut routes| routes.resolve("127.0.0.1".parse().expect("an address"), None, None));
        assert_eq!(hop.expect("a route").source.to_string(), "127.0.0.1");
    }

    #[test]
    fn an_interface_and_a_source_are_kept_to() {
        let mut routes = Routes::new().expect("a socket");
        let address = |text: &str| text.parse().expect("an address");
        let hop = routes.resolve(address("127.0.0.1"), Some(1), Some(address("127.0.0.7"))).expect("a route");
        assert_eq!((hop.interface, hop.source), (1, address("127.0.0.7")));
        assert!(routes.resolve(address("127.0.0.1"), Some(u32::MAX), None).is_err(), "no such interface");
        assert!(
            routes.resolve(address("203.0.113.1"), Some(1), None).is_err(),
            "no table has it by this interface"
        );
    }
}
