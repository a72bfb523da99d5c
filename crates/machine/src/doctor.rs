//! What is wrong with a machine. One file for each subject; every finding has a code, which documents and scripts can name.

mod cores;
mod memory;
mod network;
mod pci;
mod system;

use std::path::PathBuf;

use config::Config;
use serde::Serialize;

use crate::{Machine, Root, service};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The appliance does not start, or does not work.
    Error,
    /// It works, but slower or less safely than it could.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, which does not change.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// All codes there are, each with its meaning.
pub const CODES: &[(&str, &str)] = &[
    (
        "address-on-trunk",
        "a trunk's interface has an address, so that the kernel answers in the stretched network",
    ),
    ("aes-missing", "the CPU has no AES instructions"),
    ("af-packet-checksums", "an af_packet port on a virtual interface sees unfinished checksums"),
    ("clock-not-synchronised", "nothing keeps the clock right, which certificates need"),
    ("clock-source", "asking for the time is slow"),
    ("core-missing", "a worker's core is not there"),
    ("core-not-isolated", "the kernel puts other work on a worker's core"),
    ("core-of-another-node", "a worker is on another NUMA node than a NIC"),
    ("core-shared", "two workers share one physical core"),
    ("firmware-missing", "a NIC needs a file of its maker's that is not there"),
    ("governor", "a worker's core saves power"),
    ("file-unreadable", "the user of the service cannot read the configuration or what it names"),
    ("hugepages-few", "there are fewer free hugepages than the appliance takes"),
    ("hugepages-unused", "a PCI port works without hugepages"),
    ("interface-down", "a port's interface is not set up"),
    ("interface-in-bridge", "a port's interface belongs to a bridge or bond"),
    ("interface-missing", "a port's interface is not there"),
    ("interface-mtu", "a port's interface has a smaller MTU than the port"),
    ("iommu-group-shared", "the IOMMU does not tell a PCI port's NIC from a device of the kernel's"),
    ("iommu-off", "there is no IOMMU for vfio-pci"),
    ("ipv6-on-trunk", "the kernel speaks IPv6 in the stretched network"),
    ("large-receive", "the NIC joins frames that cannot be parted again (LRO)"),
    ("memlock", "too little memory may be locked"),
    ("module-missing", "a kernel module is not there"),
    ("nic-bound-to-kernel", "a PCI port's NIC belongs to the kernel"),
    ("nic-missing", "a PCI port's NIC is not there"),
    ("nic-unsupported", "the appliance has no driver for a PCI port's NIC"),
    ("no-address-on-uplink", "the uplink's interface has no address"),
    ("no-link", "a port has no link"),
    ("no-default-route", "a client has no way to a server in another network"),
    ("port-taken", "another program has the port that sites connect to"),
    ("port-unknown", "whose the port is that sites connect to could not be seen"),
    ("promiscuous", "the NIC may not get frames for other addresses than its own"),
    ("unsafe-dma", "vfio-pci works without an IOMMU, so that a NIC can write anywhere"),
    ("x86-64-v2", "the CPU is older than the appliance is built for"),
];

/// Looks for all that is wrong, worst first. Without a configuration only what concerns every appliance. `files` are those that the
/// package's service has to read: its configuration and what that names.
pub fn examine(root: &Root, machine: &Machine, config: Option<&Config>, files: &[PathBuf]) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    for file in service::unreadable(root, files) {
        findings.error(
            "file-unreadable",
            format!("the service cannot read {}", file.display()),
            service::remedy(&file),
        );
    }
    cores::examine(root, machine, config, &mut findings);
    memory::examine(root, machine, config, &mut findings);
    system::examine(root, config, &mut findings);
    for port in config.iter().flat_map(|config| &config.ports) {
        match &port.device {
            config::Device::Pci(address) => pci::examine(root, machine, port, address, &mut findings),
            config::Device::Kernel(interface) | config::Device::AfPacket(interface) => {
                network::examine(root, machine, port, interface, &mut findings);
            }
            config::Device::Vdev(_) => {}
        }
    }
    if let Some(config) = config {
        network::routes(machine, config, &mut findings);
    }
    let mut findings = findings.0;
    findings.sort_by_key(|finding| finding.severity);
    findings
}

struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, code: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(code, Severity::Error, what.into(), remedy.into());
    }

    fn warning(&mut self, code: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(code, Severity::Warning, what.into(), remedy.into());
    }

    fn note(&mut self, code: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(code, Severity::Note, what.into(), remedy.into());
    }

    fn add(&mut self, code: &'static str, severity: Severity, what: String, remedy: String) {
        debug_assert!(CODES.iter().any(|(known, _)| *known == code), "{code} is not in CODES");
        self.0.push(Finding { code, severity, what, remedy });
    }
}

/// Whether the kernel has a module: loaded, built in, or in the directory of its modules.
fn has_module(root: &Root, name: &str) -> bool {
    let release = root.text("proc/sys/kernel/osrelease").unwrap_or_default();
    let file = |name: &str| format!("/{name}.ko");
    let other = name.replace('_', "-");
    root.has(&format!("sys/module/{}", name.replace('-', "_")))
        || ["modules.builtin", "modules.dep"].iter().any(|list| {
            let text = root.text(&format!("lib/modules/{release}/{list}")).unwrap_or_default();
            text.lines().any(|line| {
                let path = line.split(':').next().unwrap_or_default();
                [name, &other].iter().any(|name| path.contains(&file(name)))
            })
        })
}
