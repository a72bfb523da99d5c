//! The gateways of segments: host interfaces of the kernel, each with a port of its own.

use std::collections::BTreeMap;

use bridge::SegmentIndex;
use config::{Gateway, Segment};
use pipeline::tables::PortIndex;
use ring::digest;
use wire::mac::MacAddr;
use wire::tunnel::TunnelId;

use crate::hostlink::HostLink;
use crate::layout::Layout;
use crate::nexthop::Routes;
use crate::snapshot::NO_PORT;

/// Opens and closes ports on Linux interfaces while the workers run.
pub trait HostPorts {
    /// Opens a port on a Linux interface, for all workers.
    ///
    /// # Errors
    /// Why not, for the log.
    fn open(&mut self, index: PortIndex, interface: &str) -> Result<(), String>;

    /// Closes it.
    fn close(&mut self, index: PortIndex);

    /// Whether the interface of such a port was removed since.
    fn is_gone(&self, index: PortIndex) -> bool;

    /// Opens those ports of the configuration once more whose Linux interface was removed since, and perhaps made anew, or has got
    /// another MAC address. Tells each, and its MAC address or why it stays silent.
    fn reopen(&mut self) -> Vec<(PortIndex, Result<MacAddr, String>)>;
}

/// All gateways.
pub(crate) struct Gateways {
    netlink: Routes,
    ports: Box<dyn HostPorts>,
    /// The first port that is not one of the configuration.
    first: usize,
    uplink: MacAddr,
    open: BTreeMap<SegmentIndex, Open>,
}

struct Open {
    name: String,
    port: PortIndex,
    mac: MacAddr,
    mtu: u16,
    config: Gateway,
    link: HostLink,
}

/// One gateway, as the tables need it.
#[derive(Clone, Debug)]
pub(crate) struct GatewayPort {
    pub(crate) segment: SegmentIndex,
    pub(crate) name: String,
    pub(crate) port: PortIndex,
    pub(crate) mac: MacAddr,
}

impl Gateways {
    /// None yet. Ports get numbers from `first` on; MAC addresses are derived from that of the uplink.
    pub(crate) fn new(netlink: Routes, ports: Box<dyn HostPorts>, first: usize, uplink: MacAddr) -> Self {
        Self { netlink, ports, first, uplink, open: BTreeMap::new() }
    }

    /// Makes the host interfaces what the configuration says. What fails is logged, and tried again by the next change.
    pub(crate) fn arrange(&mut self, layout: &Layout) {
        let wanted = |index: &SegmentIndex| {
            let segment = layout.segment(*index).filter(|segment| segment.enabled)?;
            Some((segment, segment.gateway.as_ref()?))
        };
        let stale = |(index, open): (&SegmentIndex, &Open)| {
            let fits = wanted(index).is_some_and(|(segment, gateway)| {
                open.mtu == segment.mtu
                    && !self.ports.is_gone(open.port)
                    && open.config.interface == gateway.interface
                    && open.mac == self.mac(segment, gateway)
            });
            (!fits).then_some(*index)
        };
        let stale: Vec<SegmentIndex> = self.open.iter().filter_map(stale).collect();
        for index in stale {
            self.close(index);
        }
        for (index, segment) in layout.segments() {
            if let Some((_, gateway)) = wanted(&index) {
                let done = match self.open.contains_key(&index) {
                    true => self.change(index, gateway),
                    false => self.start(index, segment, gateway),
                };
                if let Err(error) = done {
                    tracing::error!(segment = segment.name, %error, "the gateway is not as it should be");
                }
            }
        }
    }

    /// Whether the host interface of any was removed by somebody else.
    pub(crate) fn any_gone(&self) -> bool {
        self.open.values().any(|open| self.ports.is_gone(open.port))
    }

    /// As [`HostPorts::reopen`].
    pub(crate) fn reopen_ports(&mut self) -> Vec<(PortIndex, Result<MacAddr, String>)> {
        self.ports.reopen()
    }

    /// Removes all host interfaces.
    pub(crate) fn close_all(&mut self) {
        let all: Vec<SegmentIndex> = self.open.keys().copied().collect();
        all.into_iter().for_each(|index| self.close(index));
    }

    /// The gateways that there are.
    pub(crate) fn ports(&self) -> Vec<GatewayPort> {
        let port = |(segment, open): (&SegmentIndex, &Open)| GatewayPort {
            segment: *segment,
            name: open.name.clone(),
            port: open.port,
            mac: open.mac,
        };
        self.open.iter().map(port).collect()
    }

    fn start(&mut self, index: SegmentIndex, segment: &Segment, gateway: &Gateway) -> Result<(), String> {
        let port = free_port(self.first, |port| self.open.values().any(|open| open.port == port))
            .ok_or("there are too many gateways: a machine has at most 255 ports")?;
        let mac = self.mac(segment, gateway);
        let link = HostLink::create(&mut self.netlink, gateway, mac, segment.mtu)
            .map_err(|error| error.to_string())?;
        if let Err(error) = self.ports.open(port, &HostLink::port_side(&gateway.interface)) {
            link.remove(&mut self.netlink);
            return Err(error);
        }
        tracing::info!(segment = segment.name, interface = gateway.interface, %mac, "gateway started");
        let name = gateway.interface.clone();
        self.open.insert(index, Open { name, port, mac, mtu: segment.mtu, config: gateway.clone(), link });
        Ok(())
    }

    /// Gives a gateway other addresses, routes and settings.
    fn change(&mut self, index: SegmentIndex, wanted: &Gateway) -> Result<(), String> {
        let Self { netlink, open, .. } = self;
        let Some(Open { config: present, link, .. }) = open.get_mut(&index) else { return Ok(()) };
        link.set_redirects(wanted.send_redirects);
        // Routes need the addresses of their networks.
        let steps = present.routes.iter().filter(|route| !wanted.routes.contains(route));
        let removed: Vec<_> = steps.map(|route| link.remove_route(netlink, *route)).collect();
        let gone = present.addresses.iter().filter(|address| !wanted.addresses.contains(address));
        let removed = removed
            .into_iter()
            .chain(gone.map(|address| link.remove_address(netlink, *address)).collect::<Vec<_>>());
        for failed in removed.filter_map(Result::err) {
            // Somebody else may have removed it already.
            tracing::debug!(%failed, "gateway");
        }
        for address in wanted.addresses.iter().filter(|address| !present.addresses.contains(address)) {
            link.add_address(netlink, *address).map_err(|error| error.to_string())?;
        }
        for route in &wanted.routes {
            link.add_route(netlink, *route).map_err(|error| error.to_string())?;
        }
        present.clone_from(wanted);
        Ok(())
    }

    fn close(&mut self, index: SegmentIndex) {
        if let Some(open) = self.open.remove(&index) {
            self.ports.close(open.port);
            open.link.remove(&mut self.netlink);
            tracing::info!(interface = open.name, "gateway removed");
        }
    }

    fn mac(&self, segment: &Segment, gateway: &Gateway) -> MacAddr {
        gateway.mac.unwrap_or_else(|| derived(self.uplink, segment.tunnel_id))
    }
}

/// The first port from this number on that is not taken.
fn free_port(first: usize, taken: impl Fn(PortIndex) -> bool) -> Option<PortIndex> {
    (first..usize::from(NO_PORT.0)).map(|at| PortIndex(at as u8)).find(|port| !taken(*port))
}

/// A MAC address of local administration that is always the same for a segment of this appliance, and another at each site.
fn derived(uplink: MacAddr, tunnel: TunnelId) -> MacAddr {
    let seed = [&b"causeway gateway"[..], &uplink.0, &tunnel.get().to_be_bytes()].concat();
    let hash = digest::digest(&digest::SHA256, &seed);
    let mut octets = [0x02; 6];
    octets[1..].copy_from_slice(&hash.as_ref()[..5]);
    MacAddr(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_means_no_port_is_no_gateways() {
        assert_eq!(free_port(2, |port| port.0 == 2), Some(PortIndex(3)));
        assert_eq!(free_port(254, |_| false), Some(PortIndex(254)));
        assert_eq!(free_port(254, |port| port.0 == 254), None);
    }

    #[test]
    fn derived_addresses_are_stable_and_differ_by_site_and_segment() {
        let tunnel = |raw| TunnelId::new(raw).expect("in range");
        let (site, other) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        assert_eq!(derived(site, tunnel(10)), derived(site, tunnel(10)));
        assert_ne!(derived(site, tunnel(10)), derived(site, tunnel(11)));
        assert_ne!(derived(site, tunnel(10)), derived(other, tunnel(10)));
        assert!(!derived(site, tunnel(10)).is_multicast());
    }
}
