//! `[[segment.attachment]]`: where a segment meets a port.

use wire::vlan::VlanId;
use wire::vxlan::Vni;

use crate::ports::{Port, Role};
use crate::reader::Table;

/// Where a segment meets a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// With an 802.1ad service tag, and a customer tag behind it; without one, customers keep theirs.
    Service(VlanId, Option<VlanId>),
    /// In VXLAN.
    Vxlan(Vni),
}

impl std::fmt::Display for Encap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Untagged => f.write_str("untagged"),
            Self::Vlan(vlan) => write!(f, "VLAN {vlan}"),
            Self::Service(service, None) => write!(f, "S-VLAN {service}"),
            Self::Service(service, Some(vlan)) => write!(f, "S-VLAN {service} VLAN {vlan}"),
            Self::Vxlan(vni) => write!(f, "VNI {vni}"),
        }
    }
}

pub(crate) fn read(table: &Table<'_>, ports: &[Port]) -> Option<Attachment> {
    let port = table.required("port", table.string("port"));
    let vlans = u64::from(VlanId::MIN)..=u64::from(VlanId::MAX);
    let svlan = table.number("svlan", vlans.clone());
    // NSX writes VLAN 0 for untagged frames.
    let untagged = |vlan| if vlan == 0 { "; for frames without a tag: untagged = true" } else { "" };
    let vlan = table.number_or("vlan", vlans, untagged);
    let vni = table.number("vni", u64::from(Vni::MIN)..=u64::from(Vni::MAX));
    let untagged = table.boolean("untagged");
    // What cannot be read has been told already.
    let unread = |key, read: bool| table.has(key) && !read;
    let told = unread("svlan", svlan.is_some())
        || unread("vlan", vlan.is_some())
        || unread("vni", vni.is_some())
        || unread("untagged", untagged.is_some());
    let vlan = vlan.and_then(|found| VlanId::new(found.value as u16));
    let svlan = svlan.and_then(|found| VlanId::new(found.value as u16));
    let tagged = match (svlan, vlan) {
        (Some(service), vlan) => Some(Encap::Service(service, vlan)),
        (None, Some(vlan)) => Some(Encap::Vlan(vlan)),
        (None, None) => None,
    };
    let encaps: Vec<Encap> = [
        tagged,
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
            table.fault(
                None,
                "",
                "needs exactly one of vlan = ID, svlan = ID (with or without vlan = ID), vni = ID and untagged = true",
            );
        }
        return None;
    };
    if matches!(encap, Encap::Vxlan(_)) && ports[index].vtep.is_none() {
        table.fault(None, "vni", format!("port {:?} has no [port.vtep]", port.value));
        return None;
    }
    Some(Attachment { port: index, encap })
}

/// The MTU of a segment that the port can carry. VLAN tags are not part of a port's MTU.
pub(crate) fn largest_mtu(port: &Port, encap: Encap) -> u16 {
    match (encap, &port.vtep) {
        (Encap::Vxlan(_), Some(vtep)) => port.mtu - Port::vxlan_overhead(vtep.local),
        _ => port.mtu,
    }
}
