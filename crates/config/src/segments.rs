//! `[[segment]]`: what is stretched, and where it meets the ports.

use std::collections::HashMap;

use wire::tunnel::TunnelId;
use wire::vlan::VlanId;
use wire::vxlan::Vni;

use crate::ports::{Port, Role};
use crate::reader::Table;

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
}

/// Where a segment meets a port.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The port's position in the configuration.
    pub port: usize,
    /// How frames look there.
    pub encap: Encap,
}

/// How an attachment's frames look on its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encap {
    /// As they are.
    Untagged,
    /// With an 802.1Q tag.
    Vlan(VlanId),
    /// In VXLAN.
    Vxlan(Vni),
}

impl std::fmt::Display for Encap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Untagged => f.write_str("untagged"),
            Self::Vlan(vlan) => write!(f, "VLAN {vlan}"),
            Self::Vxlan(vni) => write!(f, "VNI {vni}"),
        }
    }
}

pub(crate) fn read(root: &Table<'_>, ports: &[Port]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut taken: HashMap<(usize, Encap), String> = HashMap::new();
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
    segments
}

fn segment(
    table: &Table<'_>,
    ports: &[Port],
    taken: &mut HashMap<(usize, Encap), String>,
) -> Option<Segment> {
    let name = table.required("name", table.string("name"));
    let range = u64::from(TunnelId::MIN)..=u64::from(TunnelId::MAX);
    let tunnel_id = table.required("tunnel_id", table.number("tunnel_id", range));
    let mtu = table.number("mtu", 68..=9500);
    let spoke_to_spoke = table.boolean("spoke_to_spoke").unwrap_or(true);
    let enabled = table.boolean("enabled").unwrap_or(true);
    let label =
        name.as_ref().map_or_else(|| "another segment".into(), |name| format!("segment {:?}", name.value));
    let mut attachments = Vec::new();
    let mut fits = 9500;
    for attached in table.tables("attachment") {
        if let Some(attachment) = attachment(&attached, ports) {
            let key = (attachment.port, attachment.encap);
            if let Some(other) = taken.insert(key, label.clone()) {
                let port = &ports[attachment.port].name;
                attached.fault(
                    None,
                    "",
                    format!("{} on port {port:?} belongs to {other} already", attachment.encap),
                );
            }
            fits = fits.min(largest_mtu(&ports[attachment.port], attachment.encap));
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
    let tunnel_id = TunnelId::new(tunnel_id?.value as u16)?;
    let mtu = mtu.map_or(fits.min(1500), |mtu| mtu.value as u16);
    Some(Segment { name: name?.value, tunnel_id, mtu, spoke_to_spoke, enabled, attachments })
}

/// The MTU of a segment that the port can carry. A VLAN tag is not part of a port's MTU.
fn largest_mtu(port: &Port, encap: Encap) -> u16 {
    match (encap, &port.vtep) {
        (Encap::Vxlan(_), Some(vtep)) => port.mtu - Port::vxlan_overhead(vtep.local),
        _ => port.mtu,
    }
}

fn attachment(table: &Table<'_>, ports: &[Port]) -> Option<Attachment> {
    let port = table.required("port", table.string("port"));
    let vlan = table.number("vlan", u64::from(VlanId::MIN)..=u64::from(VlanId::MAX));
    let vni = table.number("vni", u64::from(Vni::MIN)..=u64::from(Vni::MAX));
    let untagged = table.boolean("untagged");
    // What cannot be read has been told already.
    let unread = |key, read: bool| table.has(key) && !read;
    let told = unread("vlan", vlan.is_some())
        || unread("vni", vni.is_some())
        || unread("untagged", untagged.is_some());
    let encaps: Vec<Encap> = [
        vlan.and_then(|found| VlanId::new(found.value as u16)).map(Encap::Vlan),
        vni.and_then(|found| Vni::new(found.value as u32)).map(Encap::Vxlan),
        untagged.filter(|untagged| *untagged).map(|_| Encap::Untagged),
    ]
    .into_iter()
    .flatten()
    .collect();
    let port = port?;
    let Some(index) = ports.iter().position(|candidate| candidate.name == port.value) else {
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        table.fault(
            Some(port.at),
            "port",
            format!("there is no (good) port {:?}; there are: {}", port.value, names.join(", ")),
        );
        return None;
    };
    if ports[index].role != Role::Trunk {
        table.fault(Some(port.at), "port", format!("port {:?} is no trunk port", port.value));
        return None;
    }
    let [encap] = encaps[..] else {
        if !told {
            table.fault(None, "", "needs exactly one of vlan = ID, vni = ID and untagged = true");
        }
        return None;
    };
    if matches!(encap, Encap::Vxlan(_)) && ports[index].vtep.is_none() {
        table.fault(None, "vni", format!("port {:?} has no [port.vtep]", port.value));
        return None;
    }
    Some(Attachment { port: index, encap })
}
