//! `[[port]]`: trunk and uplink ports.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::reader::Table;
use crate::segments;
use crate::sub_interfaces::{self, SubInterface};

/// A port of the appliance.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// What it is.
    pub device: Device,
    /// The Linux interface beside it, where the kernel has the port's addresses, routes and neighbours. `None`
    /// for a trunk port without addresses.
    pub interface: Option<String>,
    /// Octets of a frame after its Ethernet header, at most.
    pub mtu: u16,
    /// The VXLAN tunnel end point on it.
    pub vtep: Option<Vtep>,
    /// Most addresses that are learned on it.
    pub max_macs: Option<u32>,
    pub(crate) sub_interfaces: Vec<SubInterface>,
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Towards the local network.
    Trunk,
    /// Towards the WAN.
    Uplink,
}

/// What a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A NIC, by its PCI address.
    Pci(String),
    /// A DPDK virtual device with its arguments.
    Vdev(String),
    /// A Linux interface, by way of DPDK's `net_af_packet`, whose arguments we choose.
    AfPacket(String),
    /// A Linux interface, by packet sockets of our own that take and give super-frames.
    Kernel(String),
}

/// A local VXLAN tunnel end point (RFC 7348).
#[derive(Clone, Debug)]
pub struct Vtep {
    /// Our address.
    pub local: IpAddr,
    /// The other VTEPs. Flooded frames go to each of them, unless there is a group.
    pub remotes: Vec<IpAddr>,
    /// The multicast group that flooded frames go to and come from.
    pub group: Option<IpAddr>,
    /// Whether VTEPs that send to us are learned.
    pub learn: bool,
    /// UDP port, at both ends.
    pub udp_port: u16,
}

impl Port {
    /// Octets that VXLAN takes of the port's MTU: IP, UDP and VXLAN headers and the inner Ethernet header.
    pub(crate) fn vxlan_overhead(local: IpAddr) -> u16 {
        if local.is_ipv4() { 50 } else { 70 }
    }
}

/// Most ports, gateways included: the data path numbers them in an octet, of which one value means none.
pub(crate) const MAX_PORTS: usize = 255;

/// Most uplinks: a session has a path by each, of which the protocol allows so many.
const MAX_UPLINKS: usize = 4;

/// Longest name of a Linux interface (IFNAMSIZ without its end).
const MAX_INTERFACE_NAME: usize = 15;

/// An Ethernet MTU that any sensible network has.
const DEFAULT_MTU: u64 = 1500;

pub(crate) fn read(root: &Table<'_>) -> Vec<Port> {
    let mut ports = Vec::new();
    let mut names = HashMap::new();
    let mut nics = HashMap::new();
    let tables = root.tables("port");
    for table in &tables {
        if let Some(port) = port(table) {
            if names.insert(port.name.clone(), ()).is_some() {
                table.fault(None, "name", format!("there is another port {:?}", port.name));
            }
            if let Device::Pci(address) = &port.device {
                if let Some(other) = nics.insert(address.to_lowercase(), port.name.clone()) {
                    table.fault(None, "device", format!("{address} is the NIC of port {other:?} already"));
                }
            }
            ports.push(port);
        }
        table.finish();
    }
    if ports.len() > MAX_PORTS {
        root.fault(
            None,
            "port",
            format!("there are {} ports, of which there can be {MAX_PORTS}", ports.len()),
        );
    }
    for (role, name) in [(Role::Trunk, "trunk"), (Role::Uplink, "uplink")] {
        let count = ports.iter().filter(|port: &&Port| port.role == role).count();
        if count == 0 && ports.len() == tables.len() {
            root.fault(None, "port", format!("there is no port with role = \"{name}\""));
        } else if role == Role::Uplink && count > MAX_UPLINKS {
            root.fault(
                None,
                "port",
                format!("there are {count} uplinks, of which there can be {MAX_UPLINKS}"),
            );
        }
    }
    ports
}

pub(crate) fn port(table: &Table<'_>) -> Option<Port> {
    let name = table.required("name", table.string("name"));
    let role = table.required("role", table.string("role")).and_then(|found| match found.value.as_str() {
        "trunk" => Some(Role::Trunk),
        "uplink" => Some(Role::Uplink),
        other => {
            table.fault(Some(found.at), "role", format!("{other:?} is neither \"trunk\" nor \"uplink\""));
            None
        }
    });
    let device = table.required("device", table.string("device")).and_then(|found| {
        let device = device(&found.value);
        if device.is_none() {
            table.fault(
                Some(found.at),
                "device",
                format!(
                    "{:?} is neither a PCI address (\"0000:03:00.0\"), nor a DPDK virtual device \
                     (\"net_memif0,...\"), nor \"kernel:INTERFACE\", nor \"af_packet:INTERFACE\"",
                    found.value
                ),
            );
        }
        if let Some(Device::Kernel(interface) | Device::AfPacket(interface)) = &device {
            check_interface(table, "device", interface, found.at);
        }
        device
    });
    let interface = table.string("interface").map(|found| {
        check_interface(table, "interface", &found.value, found.at);
        found.value
    });
    let mtu = table.number("mtu", 1280..=9600).map_or(DEFAULT_MTU, |found| found.value) as u16;
    let vtep_table = table.table_or_empty("vtep");
    let vtep = if vtep_table.is_present() { vtep(&vtep_table) } else { None };
    let max_macs = segments::max_macs(table);
    let sub_interfaces = sub_interfaces::read(table);
    let (name, role, device) = (name?.value, role?, device?);
    if role == Role::Uplink && !sub_interfaces.is_empty() {
        table.fault(None, "sub_interfaces", "an uplink port has none: they belong on a trunk port");
    }
    let interface = interface.or_else(|| match &device {
        Device::AfPacket(interface) | Device::Kernel(interface) => Some(interface.clone()),
        Device::Vdev(text) => text.split(',').find_map(|part| part.strip_prefix("iface=")).map(Into::into),
        Device::Pci(_) => None,
    });
    if role == Role::Uplink && vtep_table.is_present() {
        table.fault(None, "vtep", "an uplink port has no VTEP: VXLAN belongs on a trunk port");
    }
    if interface.is_none() && (role == Role::Uplink || vtep.is_some()) {
        table.fault(
            None,
            "interface",
            "is missing: the Linux interface that has this port's IP address, from which routes and neighbours are read",
        );
    }
    Some(Port { name, role, device, interface, mtu, vtep, max_macs, sub_interfaces })
}

/// Notes a name that no Linux interface can have. Returns whether it is good.
pub(crate) fn check_interface(table: &Table<'_>, key: &str, name: &str, at: usize) -> bool {
    let good = (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_graphic() && !"/:".contains(c))
        && !matches!(name, "." | "..");
    if !good {
        let problem =
            format!("{name:?} cannot name a Linux interface: 1 to 15 characters, without space, / and :");
        table.fault(Some(at), key, problem);
    }
    good
}

fn device(text: &str) -> Option<Device> {
    for (prefix, kind) in
        [("kernel:", Device::Kernel as fn(String) -> Device), ("af_packet:", Device::AfPacket)]
    {
        if let Some(interface) = text.strip_prefix(prefix) {
            return (!interface.is_empty()).then(|| kind(interface.into()));
        }
    }
    if text.starts_with("net_") || text.starts_with("eth_") {
        return Some(Device::Vdev(text.into()));
    }
    let (bus, function) = text.rsplit_once('.')?;
    let hex = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
    let is_pci = hex(function) && bus.split(':').count() == 3 && bus.split(':').all(hex);
    is_pci.then(|| Device::Pci(text.into()))
}

fn vtep(table: &Table<'_>) -> Option<Vtep> {
    let local = table.required("local", table.parsed::<IpAddr>("local"));
    let remotes = table.parsed_list::<IpAddr>("remotes").unwrap_or_default();
    let learn = table.boolean("learn").unwrap_or(true);
    let udp_port = table.number("udp_port", 1..=65_535).map_or(4789, |found| found.value) as u16;
    let group = table.parsed::<IpAddr>("group");
    table.finish();
    let local = local?.value;
    if let Some(group) = &group {
        let problem = if !group.value.is_multicast() {
            format!("{} is no multicast address: other VTEPs belong in remotes", group.value)
        } else if group.value.is_ipv4() != local.is_ipv4() {
            format!("{} is not of the family of {local}", group.value)
        } else {
            String::new()
        };
        if !problem.is_empty() {
            table.fault(Some(group.at), "group", problem);
        }
    }
    for remote in &remotes {
        if remote.value.is_ipv4() != local.is_ipv4() {
            table.fault(
                Some(remote.at),
                "remotes",
                format!("{} is not of the family of {local}", remote.value),
            );
        }
    }
    if remotes.is_empty() && !learn && group.is_none() {
        table.fault(
            None,
            "remotes",
            "is empty, learn is false and there is no group: no frame could ever leave by this VTEP",
        );
    }
    let remotes = remotes.into_iter().map(|found| found.value).collect();
    Some(Vtep { local, remotes, group: group.map(|group| group.value), learn, udp_port })
}
