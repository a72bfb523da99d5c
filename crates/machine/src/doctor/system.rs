//! The clock, modules, and who else listens where we want to.

use config::{Config, Device, Mode};

use super::{Findings, has_module};
use crate::Root;

pub(super) fn examine(root: &Root, config: Option<&Config>, findings: &mut Findings) {
    clock(root, findings);
    let ports = config.map(|config| config.ports.as_slice()).unwrap_or_default();
    let companions =
        ports.iter().any(|port| matches!(port.device, Device::Pci(_)) && port.interface.is_some());
    if companions && !root.has("dev/net/tun") && !has_module(root, "tun") {
        findings.error(
            "module-missing",
            "the kernel has no TAP devices (module tun), which host interfaces are made of",
            "modprobe tun, or boot a kernel that has it",
        );
    }
    if let Some(Mode::Server(server)) = config.map(|config| &config.mode) {
        taken(root, "TCP", server.listen.port(), findings);
        taken(root, "UDP", server.data_port, findings);
    }
}

fn clock(root: &Root, findings: &mut Findings) {
    let directory = "sys/devices/system/clocksource/clocksource0";
    if let Some(source) = root.text(&format!("{directory}/current_clocksource")) {
        let fast = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];
        if !fast.contains(&source.as_str()) {
            findings.warning(
                "clock-source",
                format!("the clock source is {source:?}: each look at the clock is a slow access to a device"),
                "clocksource=tsc tsc=reliable on the kernel's command line, where the hypervisor keeps the TSC steady",
            );
        }
    }
    let daemons =
        ["run/systemd/timesync/synchronized", "run/chrony", "run/ntpd.pid", "var/lib/ntpsec/ntp.drift"];
    if !daemons.iter().any(|path| root.has(path)) {
        findings.note(
            "clock-not-synchronised",
            "no time service was found that keeps the clock right",
            "systemctl enable --now systemd-timesyncd: a certificate looks invalid to a clock that is wrong",
        );
    }
}

/// Whether another program has a port.
fn taken(root: &Root, protocol: &str, port: u16, findings: &mut Findings) {
    let (tables, state) = match protocol {
        "TCP" => (["proc/net/tcp", "proc/net/tcp6"], Some("0A")), // listening
        _ => (["proc/net/udp", "proc/net/udp6"], None),
    };
    let port_text = format!(":{port:04X}");
    for table in tables {
        for line in root.text(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(found), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9))
            else {
                continue;
            };
            if !local.ends_with(&port_text) || state.is_some_and(|state| state != *found) {
                continue;
            }
            match owner(root, inode).as_deref() {
                // A running appliance, or sites that are connected through its socket.
                Some("causeway") => {}
                Some(other) => findings.error(
                    "port-taken",
                    format!("{protocol} port {port} belongs to {other}"),
                    "stop it, or choose other ports: server.listen and server.data_port, at the clients client.port",
                ),
                // Another user's program shows its files to root only; an appliance is one.
                None => findings.note(
                    "port-unknown",
                    format!("{protocol} port {port} is in use, and whose it is could not be seen"),
                    "run causeway doctor as root, or causeway show service l2vpn: it may be a running appliance",
                ),
            }
            return;
        }
    }
}

/// The name of the program that has a socket.
fn owner(root: &Root, inode: &str) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let pids = root.list("proc").into_iter().filter(|name| name.bytes().all(|octet| octet.is_ascii_digit()));
    for pid in pids {
        let mut files = root.list(&format!("proc/{pid}/fd")).into_iter();
        if files.any(|file| root.link(&format!("proc/{pid}/fd/{file}")).as_deref() == Some(&wanted)) {
            return root.text(&format!("proc/{pid}/comm"));
        }
    }
    None
}
