//! Host interfaces of gateways: one end of a pair of virtual cables, by which the kernel has an address in a segment. The other end
//! is a kernel port of the appliance.

use std::fs;
use std::io;
use std::net::IpAddr;

use config::{Gateway, Route};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use wire::mac::MacAddr;

use crate::nexthop::Routes;

/// By what alias our interfaces are known, so that one that a killed appliance left is taken over and no other is touched.
const ALIAS: &str = "causeway gateway";

/// The kernel's main routing table.
const MAIN_TABLE: u8 = 254;

/// A host interface cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostLinkError {
    /// There is another of this name.
    #[error("there is an interface {0} already, which is not ours: set gateway.interface to another name")]
    Taken(String),
    /// The kernel refuses.
    #[error("interface {interface}: {what}: {error}")]
    Kernel { interface: String, what: String, error: io::Error },
}

/// A host interface; removed by [`HostLink::remove`].
#[derive(Debug)]
pub(crate) struct HostLink {
    name: String,
    index: u32,
}

impl HostLink {
    /// The name of the appliance's end of the cable.
    pub(crate) fn port_side(interface: &str) -> String {
        // One character more than the longest name would be too long.
        format!("{}~", &interface[..interface.len().min(14)])
    }

    /// Makes a gateway's interface with its addresses and routes, and sets both ends up.
    ///
    /// # Errors
    /// The name is taken, or the kernel refuses: it wants `CAP_NET_ADMIN`. Nothing is left behind.
    pub(crate) fn create(
        netlink: &mut Routes,
        gateway: &Gateway,
        mac: MacAddr,
        mtu: u16,
    ) -> Result<Self, HostLinkError> {
        let name = gateway.interface.clone();
        if let Ok(alias) = fs::read_to_string(format!("/sys/class/net/{name}/ifalias")) {
            if alias.trim() != ALIAS {
                return Err(HostLinkError::Taken(name));
            }
            if let Ok(index) = index_of(&name) {
                // Of an appliance that was killed: what it had is not known to fit.
                let _ = delete(netlink, index);
            }
        }
        let create = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let pair = RouteNetlinkMessage::NewLink(pair(&name, mac, mtu));
        netlink.ask(pair, create).map_err(|error| failed(&name, "cannot make it", error))?;
        let index = index_of(&name).map_err(|error| failed(&name, "cannot find it", error))?;
        let link = Self { name, index };
        match link.prepare(netlink, gateway) {
            Ok(()) => Ok(link),
            Err(error) => {
                link.remove(netlink);
                Err(error)
            }
        }
    }

    fn prepare(&self, netlink: &mut Routes, gateway: &Gateway) -> Result<(), HostLinkError> {
        let port_side = Self::port_side(&self.name);
        // The kernel itself has nothing to say on the appliance's end.
        setting(&format!("/proc/sys/net/ipv6/conf/{port_side}/disable_ipv6"), "1");
        self.set_redirects(gateway.send_redirects);
        for (path, value) in [
            ("ipv4/conf/{}/forwarding", "1"),
            // Only for addresses of this segment, not of another that the machine has too.
            ("ipv4/conf/{}/arp_ignore", "1"),
            ("ipv6/conf/{}/forwarding", "1"),
            ("ipv6/conf/{}/accept_ra", "0"),
            // Another site may have the same address on purpose.
            ("ipv6/conf/{}/accept_dad", "0"),
        ] {
            setting(&format!("/proc/sys/net/{}", path.replace("{}", &self.name)), value);
        }
        for name in [&port_side, &self.name] {
            let index = index_of(name).map_err(|error| failed(name, "cannot find it", error))?;
            set_up(netlink, index, ALIAS).map_err(|error| failed(name, "cannot set it up", error))?;
        }
        for address in &gateway.addresses {
            self.add_address(netlink, *address)?;
        }
        for route in &gateway.routes {
            self.add_route(netlink, *route)?;
        }
        Ok(())
    }

    /// Whether the kernel tells hosts of better routers (ICMP redirects, RFC 792). The kernel sends them if either the interface or
    /// "all" says so; "all" is taken back, each interface has a setting of its own.
    pub(crate) fn set_redirects(&self, on: bool) {
        if !on {
            setting("/proc/sys/net/ipv4/conf/all/send_redirects", "0");
        }
        setting(&format!("/proc/sys/net/ipv4/conf/{}/send_redirects", self.name), if on { "1" } else { "0" });
    }

    /// Gives it an address.
    pub(crate) fn add_address(&self, netlink: &mut Routes, address: IpNet) -> Result<(), HostLinkError> {
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let message = RouteNetlinkMessage::NewAddress(self.address(address));
        netlink
            .ask(message, flags)
            .map_err(|error| failed(&self.name, &format!("cannot add {address}"), error))?;
        Ok(())
    }

    /// Takes an address away.
    pub(crate) fn remove_address(&self, netlink: &mut Routes, address: IpNet) -> Result<(), HostLinkError> {
        let message = RouteNetlinkMessage::DelAddress(self.address(address));
        let answer = netlink.ask(message, NLM_F_REQUEST | NLM_F_ACK);
        answer.map_err(|error| failed(&self.name, &format!("cannot remove {address}"), error))?;
        Ok(())
    }

    /// Adds a route through a router of the segment.
    pub(crate) fn add_route(&self, netlink: &mut Routes, route: Route) -> Result<(), HostLinkError> {
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let message = RouteNetlinkMessage::NewRoute(self.route(route));
        let what = || format!("cannot add the route to {} via {}", route.to, route.via);
        netlink.ask(message, flags).map_err(|error| failed(&self.name, &what(), error))?;
        Ok(())
    }

    /// Takes a route away.
    pub(crate) fn remove_route(&self, netlink: &mut Routes, route: Route) -> Result<(), HostLinkError> {
        let message = RouteNetlinkMessage::DelRoute(self.route(route));
        let what = || format!("cannot remove the route to {} via {}", route.to, route.via);
        let answer = netlink.ask(message, NLM_F_REQUEST | NLM_F_ACK);
        answer.map_err(|error| failed(&self.name, &what(), error))?;
        Ok(())
    }

    /// Removes both ends, with all addresses and routes.
    pub(crate) fn remove(self, netlink: &mut Routes) {
        if let Err(error) = delete(netlink, self.index) {
            tracing::warn!(interface = self.name, %error, "cannot remove the gateway's interface");
        }
    }

    fn address(&self, address: IpNet) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = self.index;
        message.attributes.push(AddressAttribute::Local(address.addr()));
        message.attributes.push(AddressAttribute::Address(address.addr()));
        match address {
            IpNet::V4(net) if net.prefix_len() < 31 => {
                message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
            }
            IpNet::V4(_) => {}
            // Not tentative: the address is ours whether or not another site has it too.
            IpNet::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
        }
        message
    }

    fn route(&self, route: Route) -> RouteMessage {
        let address = |ip| match ip {
            IpAddr::V4(ip) => RouteAddress::Inet(ip),
            IpAddr::V6(ip) => RouteAddress::Inet6(ip),
        };
        let mut message = RouteMessage::default();
        message.header.address_family = family(route.via);
        message.header.destination_prefix_length = route.to.prefix_len();
        message.header.table = MAIN_TABLE;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Destination(address(route.to.addr())));
        message.attributes.push(RouteAttribute::Gateway(address(route.via)));
        message.attributes.push(RouteAttribute::Oif(self.index));
        message
    }
}

fn pair(name: &str, mac: MacAddr, mtu: u16) -> LinkMessage {
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(HostLink::port_side(name)));
    peer.attributes.push(LinkAttribute::Mtu(mtu.into()));
    let mut message = LinkMessage::default();
    message.attributes.extend([
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Mtu(mtu.into()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ]);
    message
}

fn set_up(netlink: &mut Routes, index: u32, alias: &str) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::IfAlias(alias.into()));
    netlink.ask(RouteNetlinkMessage::SetLink(message), NLM_F_REQUEST | NLM_F_ACK).map(drop)
}

fn delete(netlink: &mut Routes, index: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    netlink.ask(RouteNetlinkMessage::DelLink(message), NLM_F_REQUEST | NLM_F_ACK).map(drop)
}

fn index_of(name: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(name)?)
}

/// Writes a setting of the kernel. A kernel without IPv6 has not all of them.
fn setting(path: &str, value: &str) {
    if let Err(error) = fs::write(path, value) {
        tracing::debug!(path, %error, "cannot change a kernel setting");
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn failed(interface: &str, what: &str, error: io::Error) -> HostLinkError {
    HostLinkError::Kernel { interface: interface.into(), what: what.into(), error }
}
