//! `sub_interfaces = "100(45),200(46)"`: the notation of NSX's standalone edge, VLAN and tunnel ID of each segment of a trunk.

use wire::tunnel::TunnelId;
use wire::vlan::VlanId;

use crate::attachments::Encap;
use crate::reader::Table;

/// One sub-interface of a trunk port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubInterface {
    pub(crate) encap: Encap,
    pub(crate) tunnel_id: TunnelId,
    /// Where it stands in the file.
    pub(crate) at: usize,
}

pub(crate) fn read(port: &Table<'_>) -> Vec<SubInterface> {
    let Some(list) = port.string("sub_interfaces") else { return Vec::new() };
    let mut found = Vec::new();
    for text in list.value.split(',').map(str::trim) {
        match one(text) {
            Ok((encap, tunnel_id)) => found.push(SubInterface { encap, tunnel_id, at: list.at }),
            Err(problem) => port.fault(Some(list.at), "sub_interfaces", format!("{text:?}: {problem}")),
        }
    }
    found
}

fn one(text: &str) -> Result<(Encap, TunnelId), String> {
    let parts = text.strip_suffix(')').and_then(|text| text.split_once('('));
    let (vlan, tunnel) = parts.ok_or("has to be VLAN(tunnel ID), like 100(45)")?;
    // NSX writes VLAN 0 for untagged frames.
    let encap = match vlan.trim() {
        "0" => Encap::Untagged,
        vlan => Encap::Vlan(vlan.parse::<VlanId>().map_err(|error| error.to_string())?),
    };
    let tunnel = tunnel.trim().parse::<TunnelId>().map_err(|error| error.to_string())?;
    Ok((encap, tunnel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_is_read() {
        let vlan = |raw| Encap::Vlan(VlanId::new(raw).expect("in range"));
        let tunnel = |raw| TunnelId::new(raw).expect("in range");
        assert_eq!(one("100(45)"), Ok((vlan(100), tunnel(45))));
        assert_eq!(one("0(46)"), Ok((Encap::Untagged, tunnel(46))));
        for (text, told) in [
            ("100", "VLAN(tunnel ID)"),
            ("100(45", "VLAN(tunnel ID)"),
            ("", "VLAN(tunnel ID)"),
            ("4095(1)", "1 to 4094"),
            ("x(1)", "VLAN ID"),
            ("1(0)", "1 to 4093"),
            ("1(4094)", "tunnel ID"),
        ] {
            let error = one(text).expect_err(text);
            assert!(error.contains(told), "{text:?}: {error}");
        }
    }
}
