//! Ports on Linux interfaces, addresses and routes.

use std::collections::BTreeMap;
use std::process::Command;

use config::{Config, Device, Mode, Port, Role};

use super::Findings;
use crate::nic::Nic;
use crate::{Machine, Root};

pub(super) fn examine(root: &Root, machine: &Machine, port: &Port, interface: &str, findings: &mut Findings) {
    let name = &port.name;
    let Some(nic) = machine.nic(interface) else {
        findings.error(
            "interface-missing",
            format!("port {name:?}: there is no interface {interface}"),
            "causeway setup lists the interfaces of this machine",
        );
        return;
    };
    if !nic.is_up {
        findings.error(
            "interface-down",
            format!("port {name:?}: {interface} is not set up"),
            format!("ip link set dev {interface} up, at boot by your network configuration"),
        );
    } else if !nic.has_link {
        findings.warning(
            "no-link",
            format!("port {name:?}: {interface} has no link"),
            "look at the cable and the other end",
        );
    }
    if let Some(mtu) = nic.mtu.filter(|mtu| *mtu < i64::from(port.mtu)) {
        findings.error(
            "interface-mtu",
            format!("port {name:?}: {interface} has MTU {mtu}, the port {}", port.mtu),
            format!("ip link set dev {interface} mtu {}", port.mtu),
        );
    }
    if let Some(master) = &nic.master {
        findings.warning(
            "interface-in-bridge",
            format!("port {name:?}: {interface} belongs to {master}, which takes its frames"),
            format!("ip link set dev {interface} nomaster, or use {master} as the port"),
        );
    }
    let features = features(root, interface);
    let is_on = |feature: &str| features.get(feature) == Some(&true);
    if is_on("large-receive-offload") || is_on("rx-gro-hw") {
        findings.warning(
            "large-receive",
            format!("port {name:?}: {interface} joins frames by itself, and what was joined cannot be parted as it was"),
            format!("ethtool -K {interface} lro off rx-gro-hw off"),
        );
    }
    let is_virtual = nic.pci.is_none() && nic.driver.is_none();
    if matches!(port.device, Device::AfPacket(_)) && is_virtual {
        findings.warning(
            "af-packet-checksums",
            format!("port {name:?}: hosts behind {interface} leave checksums unfinished, and af_packet cannot see it"),
            format!("device = \"kernel:{interface}\", or ethtool -K DEV tx off at the interface that faces this one"),
        );
    }
    match port.role {
        Role::Trunk => {
            promiscuous(machine, nic, name, findings);
            if port.vtep.is_none() {
                quiet(root, nic, interface, name, findings);
            }
        }
        Role::Uplink if !nic.has_address => findings.error(
            "no-address-on-uplink",
            format!("port {name:?}: {interface} has no address"),
            "give it one with the tools you use anyway (systemd-networkd, ifupdown, ip)",
        ),
        Role::Uplink => {}
    }
}

/// A trunk on which the kernel is to say nothing.
fn quiet(root: &Root, nic: &Nic, interface: &str, name: &str, findings: &mut Findings) {
    if nic.has_address {
        findings.warning(
            "address-on-trunk",
            format!(
                "port {name:?}: {interface} has an address, so this machine answers in the stretched network"
            ),
            format!("ip address flush dev {interface}; a gateway's address belongs in [segment.gateway]"),
        );
    }
    if root.number(&format!("proc/sys/net/ipv6/conf/{interface}/disable_ipv6")) == Some(0) {
        findings.warning(
            "ipv6-on-trunk",
            format!(
                "port {name:?}: the kernel speaks IPv6 on {interface} (router solicitations, its own address)"
            ),
            format!("sysctl net.ipv6.conf.{interface}.disable_ipv6=1"),
        );
    }
}

/// Whether frames for others than the NIC itself reach it.
pub(super) fn promiscuous(machine: &Machine, nic: &Nic, name: &str, findings: &mut Findings) {
    let nic_name = nic.name();
    if nic.dpdk == Some("ena") || machine.vendor.contains("Amazon") || machine.vendor.contains("Google") {
        findings.warning(
            "promiscuous",
            format!("port {name:?}: this cloud's network gives {nic_name} only frames for its own addresses"),
            "stretch VXLAN segments (a port with a VTEP), not VLANs; on EC2 switch the source/destination check off",
        );
    } else if machine.vendor.contains("VMware") || nic.dpdk == Some("vmxnet3") {
        findings.note(
            "promiscuous",
            format!("port {name:?}: a port group gives {nic_name} frames for other addresses only when it is told to"),
            "on its port group allow MAC learning, or promiscuous mode, and forged transmits",
        );
    } else if nic.is_virtual_function {
        findings.warning(
            "promiscuous",
            format!("port {name:?}: {nic_name} is a virtual function, which gets only frames for its own addresses"),
            "on the host: ip link set dev PF vf N trust on spoofchk off",
        );
    }
}

/// Whether a client finds its server.
pub(super) fn routes(machine: &Machine, config: &Config, findings: &mut Findings) {
    let has_route = machine.nics.iter().any(|nic| nic.has_default_route);
    // A companion of a PCI port gets its route when the appliance has started.
    let by_kernel =
        config.ports.iter().all(|port| port.role != Role::Uplink || !matches!(port.device, Device::Pci(_)));
    if matches!(config.mode, Mode::Client(_)) && by_kernel && !has_route {
        findings.note(
            "no-default-route",
            "there is no default route: only servers in networks of this machine's own are reached",
            "ip route add default via ROUTER dev UPLINK",
        );
    }
}

/// What `ethtool -k` says of an interface. In a tree of files it is in ethtool/INTERFACE.
fn features(root: &Root, interface: &str) -> BTreeMap<String, bool> {
    let text = if root.is_real() {
        let ran = Command::new("ethtool").args(["-k", interface]).output();
        ran.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    } else {
        root.text(&format!("ethtool/{interface}")).unwrap_or_default()
    };
    let lines = text.lines().filter_map(|line| line.trim().split_once(": "));
    lines.map(|(feature, state)| (feature.to_owned(), state.starts_with("on"))).collect()
}
