//! `[segment.gateway]`: the addresses by which the appliance is a segment's default gateway.

use std::net::IpAddr;

use ipnet::IpNet;
use wire::mac::MacAddr;
use wire::tunnel::TunnelId;

use crate::ports::check_interface;
use crate::reader::{Found, Table};

/// A segment's gateway: a host interface in the kernel, which routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its addresses with their networks.
    pub addresses: Vec<IpNet>,
    /// Its MAC address; `None`: one that is derived and always the same.
    pub mac: Option<MacAddr>,
    /// The name of the host interface.
    pub interface: String,
    /// Whether the kernel sends ICMP redirects there.
    pub send_redirects: bool,
    /// Networks that lie behind other routers of the segment.
    pub routes: Vec<Route>,
    /// The addresses that every site resolves and routes by itself (egress optimization).
    pub egress: Vec<IpAddr>,
}

/// A network that is reached through a router of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: IpNet,
    /// The router.
    pub via: IpAddr,
}

impl Gateway {
    /// What the appliance's end of its cable is named after: there a character is added, for which the longest name has no room.
    pub(crate) fn cable(&self) -> &str {
        &self.interface[..self.interface.len().min(14)]
    }

    /// Whether this is one of its own addresses.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.addr() == address)
    }

    /// Its own address in the network of another, which is none of its own.
    pub fn beside(&self, address: IpAddr) -> Option<IpAddr> {
        let own = self.addresses.iter().find(|own| own.contains(&address)).map(IpNet::addr);
        own.filter(|_| !self.has(address))
    }

    fn reaches(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.contains(&address))
    }
}

pub(crate) fn read(segment: &Table<'_>, tunnel_id: Option<TunnelId>) -> Option<Gateway> {
    let table = segment.table_or_empty("gateway");
    if !table.is_present() {
        return None;
    }
    let addresses = table.required("addresses", table.parsed_list::<IpNet>("addresses"));
    let mac = table.parsed::<MacAddr>("mac");
    let interface = table.string("interface");
    let send_redirects = table.boolean("send_redirects").unwrap_or(false);
    let routes = routes(&table);
    let egress = table.parsed_list::<IpAddr>("egress").unwrap_or_default();
    table.finish();
    let addresses = check_addresses(&table, addresses?);
    let mac = mac.filter(|mac| {
        let usable = !mac.value.is_multicast() && !mac.value.is_zero();
        if !usable {
            table.fault(Some(mac.at), "mac", format!("{} is no address of a single station", mac.value));
        }
        usable
    });
    let interface = match interface {
        Some(Found { value, at }) => check_interface(&table, "interface", &value, at).then_some(value)?,
        None => format!("cw{}", tunnel_id?),
    };
    let gateway = Gateway {
        addresses,
        mac: mac.map(|mac| mac.value),
        interface,
        send_redirects,
        routes: routes.iter().map(|route| route.value).collect(),
        egress: egress.iter().map(|address| address.value).collect(),
    };
    for route in routes.iter().filter(|route| !gateway.reaches(route.value.via)) {
        let problem = format!(
            "{} is in none of the gateway's networks ({}): add an address of its network, or name another router",
            route.value.via,
            list(&gateway.addresses)
        );
        table.fault(Some(route.at), "routes", problem);
    }
    for address in egress.iter().filter(|address| !gateway.has(address.value)) {
        table.fault(Some(address.at), "egress", no_gateway(address.value, &gateway));
    }
    Some(gateway)
}

/// Why an address cannot be kept local.
pub(crate) fn no_gateway(address: IpAddr, gateway: &Gateway) -> String {
    let hint = match gateway.addresses.iter().find(|own| own.contains(&address)) {
        Some(own) => format!("the gateway has {} in that network", own.addr()),
        None => "it lies outside of the gateway's networks".into(),
    };
    format!(
        "{address} is no address of this site's gateway ({hint}): egress optimization needs a gateway at each site; \
         add the address to gateway.addresses, or drop it here"
    )
}

fn check_addresses(table: &Table<'_>, found: Vec<Found<IpNet>>) -> Vec<IpNet> {
    if found.is_empty() {
        table.fault(
            None,
            "addresses",
            "is empty: a gateway needs an address with its prefix length, \"10.0.0.1/24\"",
        );
    }
    let mut addresses: Vec<IpNet> = Vec::new();
    for Found { value, at } in found {
        let fault = |problem: String| table.fault(Some(at), "addresses", problem);
        let host_bits = value.max_prefix_len() - value.prefix_len();
        if value.addr().is_unspecified() || value.addr().is_multicast() || value.addr().is_loopback() {
            fault(format!("{} is no address of a host", value.addr()));
        } else if value.addr().is_ipv4() && host_bits > 1 && value.addr() == value.network() {
            fault(format!("{} is the address of the network itself: give the gateway another", value.addr()));
        } else if value.addr().is_ipv4() && host_bits > 1 && value.addr() == value.broadcast() {
            fault(format!(
                "{} is the broadcast address of its network: give the gateway another",
                value.addr()
            ));
        } else if addresses.iter().any(|other| other.addr() == value.addr()) {
            fault(format!("{} stands here twice", value.addr()));
        }
        addresses.push(value);
    }
    addresses
}

fn routes(table: &Table<'_>) -> Vec<Found<Route>> {
    let mut routes = Vec::new();
    for route in table.tables("routes") {
        let to = route.required("to", route.parsed::<IpNet>("to"));
        let via = route.required("via", route.parsed::<IpAddr>("via"));
        route.finish();
        let (Some(to), Some(via)) = (to, via) else { continue };
        if to.value.addr().is_ipv4() != via.value.is_ipv4() {
            route.fault(Some(via.at), "via", format!("{} is not of the family of {}", via.value, to.value));
        } else if to.value != to.value.trunc() {
            route.fault(Some(to.at), "to", format!("{} has host bits set: {}", to.value, to.value.trunc()));
        } else {
            routes.push(Found { value: Route { to: to.value, via: via.value }, at: via.at });
        }
    }
    routes
}

fn list(addresses: &[IpNet]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
