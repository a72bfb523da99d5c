//! `[[segment]]`: what is stretched.

use std::collections::HashMap;
use std::net::IpAddr;

use wire::tunnel::TunnelId;

use crate::attachments::{self, Attachment, Encap};
use crate::gateway::{self, Gateway};
use crate::guard::{self, LoopGuardMode};
use crate::ports::{MAX_PORTS, Port};
use crate::reader::Table;
use crate::storm::{self, StormLimits};

/// One stretched L2 network.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Its name across the tunnel, the same at both ends.
    pub tunnel_id: TunnelId,
    /// Octets of a frame after its Ethernet header, at most.
    pub mtu: u16,
    /// Whether the server forwards between two of its sites.
    pub spoke_to_spoke: bool,
    /// Whether it is in service.
    pub enabled: bool,
    /// Where it meets the ports.
    pub attachments: Vec<Attachment>,
    /// Whether TCP handshakes through the tunnel are made to fit.
    pub mss_clamp: bool,
    /// Whether unicast to an unknown address is dropped and not flooded.
    pub block_unknown: bool,
    /// Most addresses that are learned in it.
    pub max_macs: Option<u32>,
    /// How much of what is flooded each side may send.
    pub storm: StormLimits,
    /// What is done about loops through it.
    pub loop_guard: LoopGuardMode,
    /// Whether the appliance answers ARP and neighbour solicitations for hosts that it knows.
    pub arp_suppression: bool,
    /// The appliance's own addresses in it.
    pub gateway: Option<Gateway>,
}

impl Segment {
    /// One with a name and a tunnel ID, and nothing special about it.
    fn plain(name: String, tunnel_id: TunnelId, mtu: u16) -> Self {
        Self {
            name,
            tunnel_id,
            mtu,
            spoke_to_spoke: true,
            enabled: true,
            attachments: Vec::new(),
            mss_clamp: true,
            block_unknown: false,
            max_macs: None,
            storm: StormLimits::default(),
            loop_guard: LoopGuardMode::default(),
            arp_suppression: false,
            gateway: None,
        }
    }
}

/// What is spoken for already, and by which segment.
#[derive(Default)]
struct Taken {
    attachments: HashMap<(usize, Encap), String>,
    addresses: HashMap<IpAddr, String>,
    interfaces: HashMap<String, String>,
    /// Of gateways' interfaces what the other end of their cable is named after.
    cables: HashMap<String, String>,
    /// Numbers of ports.
    ports: usize,
}

pub(crate) fn read(root: &Table<'_>, ports: &[Port]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut taken = Taken { ports: ports.len(), ..Taken::default() };
    for port in ports {
        taken
            .interfaces
            .extend(port.interface.iter().map(|name| (name.clone(), format!("port {:?}", port.name))));
    }
    for table in root.tables("segment") {
        let found = segment(&table, ports, &mut taken);
        table.finish();
        let Some(segment) = found else { continue };
        if segments.iter().any(|other| other.name == segment.name) {
            table.fault(None, "name", format!("there is another segment {:?}", segment.name));
        }
        if let Some(other) = segments.iter().find(|other| other.tunnel_id == segment.tunnel_id) {
            table.fault(
                None,
                "tunnel_id",
                format!("{} is the tunnel ID of segment {:?} already", segment.tunnel_id, other.name),
            );
        }
        segments.push(segment);
    }
    sub_interfaces(root, ports, &mut segments, &mut taken);
    segments
}

fn segment(table: &Table<'_>, ports: &[Port], taken: &mut Taken) -> Option<Segment> {
    let name = table.required("name", table.string("name"));
    let range = u64::from(TunnelId::MIN)..=u64::from(TunnelId::MAX);
    let tunnel_id = table.required("tunnel_id", table.number("tunnel_id", range));
    let tunnel_id = tunnel_id.and_then(|found| TunnelId::new(found.value as u16));
    let mtu = table.number("mtu", 68..=9500);
    let label =
        name.as_ref().map_or_else(|| "another segment".into(), |name| format!("segment {:?}", name.value));
    let mut attachments = Vec::new();
    let mut fits = 9500;
    for attached in table.tables("attachment") {
        if let Some(attachment) = attachments::read(&attached, ports) {
            take(&attached, ports, attachment, &label, taken);
            fits = fits.min(attachments::largest_mtu(&ports[attachment.port], attachment.encap));
            attachments.push(attachment);
        }
        attached.finish();
    }
    if let Some(mtu) = &mtu {
        if mtu.value > u64::from(fits) {
            table.fault(
                Some(mtu.at),
                "mtu",
                format!(
                    "{} does not fit: the segment's ports leave room for {fits} (VXLAN takes 50 octets)",
                    mtu.value
                ),
            );
        }
    }
    let gateway = gateway::read(table, tunnel_id);
    if let Some(gateway) = &gateway {
        take_gateway(table, gateway, &label, taken);
    }
    let mss_clamp = table.boolean("mss_clamp").unwrap_or(true);
    let block_unknown = block_unknown(table);
    let max_macs = max_macs(table);
    let storm = storm::of_segment(table);
    let loop_guard = guard::mode(table);
    let arp_suppression = table.boolean("arp_suppression").unwrap_or(false);
    let spoke_to_spoke = table.boolean("spoke_to_spoke").unwrap_or(true);
    let enabled = table.boolean("enabled").unwrap_or(true);
    let mtu = mtu.map_or(fits.min(1500), |mtu| mtu.value as u16);
    Some(Segment {
        spoke_to_spoke,
        enabled,
        attachments,
        mss_clamp,
        block_unknown,
        max_macs,
        storm,
        loop_guard,
        arp_suppression,
        gateway,
        ..Segment::plain(name?.value, tunnel_id?, mtu)
    })
}

/// `max_macs`, of a segment, a port or a site.
pub(crate) fn max_macs(table: &Table<'_>) -> Option<u32> {
    table.number("max_macs", 1..=4 << 20).map(|found| found.value as u32)
}

fn block_unknown(table: &Table<'_>) -> bool {
    let Some(found) = table.string("unknown_unicast") else { return false };
    match found.value.as_str() {
        "flood" => false,
        "drop" => true,
        other => {
            let problem = format!("{other:?} is neither \"flood\" nor \"drop\"");
            table.fault(Some(found.at), "unknown_unicast", problem);
            false
        }
    }
}

fn take(table: &Table<'_>, ports: &[Port], attachment: Attachment, label: &str, taken: &mut Taken) {
    if let Some(other) = taken.attachments.insert((attachment.port, attachment.encap), label.into()) {
        let port = &ports[attachment.port].name;
        table.fault(None, "", format!("{} on port {port:?} belongs to {other} already", attachment.encap));
    }
}

fn take_gateway(table: &Table<'_>, gateway: &Gateway, label: &str, taken: &mut Taken) {
    for address in &gateway.addresses {
        if let Some(other) =
            taken.addresses.insert(address.addr(), label.into()).filter(|other| other != label)
        {
            let problem = format!("{} is the gateway of {other} already", address.addr());
            table.fault(None, "gateway.addresses", problem);
        }
    }
    if let Some(other) = taken.interfaces.insert(gateway.interface.clone(), label.into()) {
        let problem = format!("{:?} is the interface of {other} already", gateway.interface);
        table.fault(None, "gateway.interface", problem);
    } else if let Some(other) = taken.cables.insert(gateway.cable().into(), label.into()) {
        let problem = format!(
            "{:?} begins with the same {} characters as the interface of {other}, after which the appliance's ends of both are named",
            gateway.interface,
            gateway.cable().len()
        );
        table.fault(None, "gateway.interface", problem);
    }
    taken.ports += 1;
    if taken.ports == MAX_PORTS + 1 {
        let problem = format!("there is no port for it: ports and gateways can be {MAX_PORTS} together");
        table.fault(None, "gateway", problem);
    }
}

/// Segments in NSX's notation: each is attached to the segment with its tunnel ID, which is made if there is none.
fn sub_interfaces(root: &Table<'_>, ports: &[Port], segments: &mut Vec<Segment>, taken: &mut Taken) {
    for (at, port) in ports.iter().enumerate() {
        for sub in &port.sub_interfaces {
            let attachment = Attachment { port: at, encap: sub.encap };
            let label = format!("the sub-interface with tunnel ID {}", sub.tunnel_id);
            if let Some(other) = taken.attachments.insert((at, sub.encap), label) {
                let problem = format!("{} on port {:?} belongs to {other} already", sub.encap, port.name);
                root.fault(Some(sub.at), "port.sub_interfaces", problem);
            }
            if let Some(segment) = segments.iter_mut().find(|segment| segment.tunnel_id == sub.tunnel_id) {
                segment.attachments.push(attachment);
                segment.mtu = segment.mtu.min(port.mtu);
                continue;
            }
            let name = match sub.encap {
                Encap::Vlan(vlan) => format!("vlan-{vlan}"),
                _ => "untagged".into(),
            };
            let name = match segments.iter().any(|segment| segment.name == name) {
                true => format!("{}-{name}", port.name),
                false => name,
            };
            let mut segment = Segment::plain(name, sub.tunnel_id, port.mtu.min(1500));
            segment.attachments.push(attachment);
            segments.push(segment);
        }
    }
}
