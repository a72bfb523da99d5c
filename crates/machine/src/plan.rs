//! What is proposed for a machine: which NIC becomes which port and by what driver, which cores work, how many hugepages.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::Machine;
use crate::cpu::Core;
use crate::nic::Nic;

/// MiB of packet memory of an appliance with NICs of its own.
const MEMORY_MB: u64 = 512;

/// MiB of packet memory without.
const SMALL_MEMORY_MB: u64 = 256;

/// KiB of the hugepages that are proposed.
const PAGE_KB: u64 = 2048;

/// What the operator wants, as far as he says it.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// NICs or interfaces for trunk ports; when empty, those that nobody uses.
    pub trunks: Vec<String>,
    /// NICs or interfaces for the uplink; when empty, the one with the default route.
    pub uplinks: Vec<String>,
    /// How many workers; when not said, by the cores that there are.
    pub workers: Option<usize>,
    /// How NICs become ports.
    pub bind: Bind,
    /// MiB of packet memory that a configuration has already.
    pub memory_mb: Option<u64>,
}

/// How a NIC becomes a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bind {
    /// By DPDK's own drivers, where the machine and the NIC allow it without harm; else by the kernel.
    #[default]
    Auto,
    /// As Linux interfaces, all of them.
    Kernel,
    /// By this driver, IOMMU or not.
    Driver(UserSpace),
}

/// A driver that gives a device to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserSpace {
    /// `vfio-pci`: the device reaches only the memory that it is given, with an IOMMU.
    #[serde(rename = "vfio-pci")]
    VfioPci,
    /// `uio_pci_generic`: the device reaches all memory.
    #[serde(rename = "uio_pci_generic")]
    UioPciGeneric,
}

impl UserSpace {
    /// Its name, which is also its module's.
    pub fn name(self) -> &'static str {
        match self {
            Self::VfioPci => "vfio-pci",
            Self::UioPciGeneric => "uio_pci_generic",
        }
    }
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The ports.
    pub ports: Vec<PlannedPort>,
    /// A core for each worker.
    pub workers: Vec<usize>,
    /// MiB of packet memory.
    pub memory_mb: u64,
    /// Hugepages that there are to be, by node; none when no port needs them.
    pub hugepages: Vec<Pages>,
    /// Why it is so, and what the operator should know.
    pub remarks: Vec<String>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPort {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it is the uplink.
    pub is_uplink: bool,
    /// Its device, as the configuration has it.
    pub device: String,
    /// Its Linux interface: the one there is, or the companion's name.
    pub interface: Option<String>,
    /// The driver that its NIC is to be bound to at boot.
    pub bind: Option<UserSpace>,
}

/// How many hugepages a node is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// The node.
    pub node: usize,
    /// KiB of a page.
    pub page_kb: u64,
    /// Pages.
    pub pages: u64,
}

impl Plan {
    /// Proposes what fits the machine and the operator's wishes.
    ///
    /// # Errors
    /// A NIC that he names is not there or cannot be used as he wishes.
    pub fn propose(machine: &Machine, wishes: &Wishes) -> Result<Self, String> {
        let mut remarks = Vec::new();
        let uplinks = match &wishes.uplinks[..] {
            [] => machine.nics.iter().filter(|nic| nic.has_default_route).take(1).collect(),
            names => named(machine, names)?,
        };
        let trunks = match &wishes.trunks[..] {
            [] => machine.nics.iter().filter(|nic| is_idle(nic) && !contains(&uplinks, nic)).collect(),
            names => named(machine, names)?,
        };
        if let Some(both) = trunks.iter().find(|nic| contains(&uplinks, nic)) {
            return Err(format!("{} cannot be a trunk and the uplink", both.name()));
        }
        if uplinks.is_empty() {
            remarks.push("No NIC has the default route: name the uplink with --uplink.".into());
        }
        if trunks.is_empty() {
            remarks.push("No NIC is unused: name one with --trunk.".into());
        }
        let mut ports = Vec::new();
        let bindable: Vec<&Nic> =
            trunks.iter().chain(&uplinks).copied().filter(|nic| is_idle(nic) && nic.dpdk.is_some()).collect();
        for (at, nic) in trunks.iter().enumerate() {
            ports.push(port(&bindable, nic, format!("trunk{at}"), false, wishes, &mut remarks)?);
        }
        for (at, nic) in uplinks.iter().enumerate() {
            let name = if at == 0 { "wan".to_owned() } else { format!("wan{}", at + 1) };
            ports.push(port(&bindable, nic, name, true, wishes, &mut remarks)?);
        }
        let node = trunks.iter().chain(&uplinks).find_map(|nic| nic.node).unwrap_or(0);
        let workers = workers(&machine.cores, node, wishes.workers, &mut remarks);
        let needs_pages = ports.iter().any(|port| !port.device.starts_with("kernel:"));
        let memory_mb = wishes.memory_mb.unwrap_or(if needs_pages { MEMORY_MB } else { SMALL_MEMORY_MB });
        let hugepages = if needs_pages { pages(machine, node, memory_mb) } else { Vec::new() };
        if !needs_pages {
            remarks.push("Ports on Linux interfaces need neither hugepages nor another driver.".into());
        }
        Ok(Self { ports, workers, memory_mb, hugepages, remarks })
    }

    /// Whether there is something to be done at each boot: NICs to be bound, pages to be reserved.
    pub fn is_for_each_boot(&self) -> bool {
        !self.hugepages.is_empty() || self.ports.iter().any(|port| port.bind.is_some())
    }

    /// The beginning of a configuration: everything that can be known without asking.
    pub fn skeleton(&self) -> String {
        let mut text = String::from(
            "# Written by `causeway setup --write`: the ports and cores of this machine. What only you can know is marked with \"<...>\" (numbers go without the quotes);\n\
             # examples for each kind of deployment are in /usr/share/doc/causeway/examples.\n\n\
             mode = \"client\"            # \"server\" for the hub\n\n[system]\n",
        );
        let cores: Vec<String> = self.workers.iter().map(usize::to_string).collect();
        // Writing to a String does not fail.
        let _ = writeln!(text, "workers = [{}]", cores.join(", "));
        let _ = writeln!(text, "hugepages = {}", !self.hugepages.is_empty());
        let _ = writeln!(text, "memory_mb = {}", self.memory_mb);
        let _ = writeln!(text, "socket = \"/run/causeway/causeway.sock\"");
        for port in &self.ports {
            let role = if port.is_uplink { "uplink" } else { "trunk" };
            let _ = write!(
                text,
                "\n[[port]]\nname = \"{}\"\nrole = \"{role}\"\ndevice = \"{}\"\n",
                port.name, port.device
            );
            if let Some(interface) =
                port.interface.as_ref().filter(|_| port.is_uplink && !port.device.starts_with("kernel:"))
            {
                let _ = writeln!(
                    text,
                    "interface = \"{interface}\"      # appears when the appliance starts; give it the port's address"
                );
            }
        }
        text.push_str(
            "\n[[segment]]\nname = \"<name>\"\ntunnel_id = \"<1 to 4093, the same at both ends>\"\n[[segment.attachment]]\n\
             port = \"trunk0\"\nvlan = \"<VLAN>\"\n\n[client]\nserver = \"<name or address of the server>\"\nuser = \"<this site's name>\"\n\
             password_file = \"/etc/causeway/password\"\nfingerprint = \"<causeway cert fingerprint server.crt, at the server>\"\n",
        );
        text
    }
}

fn named<'a>(machine: &'a Machine, names: &[String]) -> Result<Vec<&'a Nic>, String> {
    let find = |name: &String| {
        machine.nic(name).ok_or_else(|| {
            let known: Vec<&str> = machine.nics.iter().map(Nic::name).collect();
            format!("there is no NIC {name:?}: this machine has {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

fn contains(nics: &[&Nic], nic: &Nic) -> bool {
    nics.iter().any(|other| std::ptr::eq(*other, nic))
}

/// Whether nobody uses a NIC: real hardware (or what a hypervisor passes off as such) without address, bridge, VLAN or route.
fn is_idle(nic: &Nic) -> bool {
    let is_hardware = nic.pci.is_some() || nic.driver.is_some();
    let is_usable = nic.interface.is_some() || nic.is_bound_for_user_space();
    is_hardware && is_usable && nic.used_by().is_none()
}

/// Plans a port. `bindable` are the NICs that may all be taken from the kernel.
fn port(
    bindable: &[&Nic],
    nic: &Nic,
    name: String,
    is_uplink: bool,
    wishes: &Wishes,
    remarks: &mut Vec<String>,
) -> Result<PlannedPort, String> {
    let by_kernel = |interface: &str| PlannedPort {
        name: name.clone(),
        is_uplink,
        device: format!("kernel:{interface}"),
        interface: Some(interface.into()),
        bind: None,
    };
    let (pci, driver) = match (wishes.bind, &nic.pci, nic.dpdk) {
        (Bind::Kernel, ..) | (Bind::Auto, None, _) | (Bind::Auto, _, None) => (None, None),
        (Bind::Driver(_), None, _) => return Err(format!("{} is no PCI device", nic.name())),
        (Bind::Driver(_), _, None) => {
            return Err(format!(
                "the appliance has no driver for {} ({}): use --bind kernel",
                nic.name(),
                nic.model
            ));
        }
        (_, Some(pci), Some(_)) if nic.stays_with_the_kernel() => (Some(pci), None),
        (Bind::Driver(driver), Some(pci), Some(_)) => (Some(pci), Some(driver)),
        (Bind::Auto, Some(pci), Some(_)) => {
            // What somebody uses is not taken from him unasked, and a NIC that may write anywhere in memory is not let loose.
            if nic.is_bound_for_user_space() {
                let vfio = nic.driver.as_deref() == Some("vfio-pci");
                (Some(pci), Some(if vfio { UserSpace::VfioPci } else { UserSpace::UioPciGeneric }))
            } else if let Some(use_of) = use_of(nic) {
                remarks.push(format!(
                    "{} {use_of}: it stays with the kernel. --bind vfio-pci takes it.",
                    nic.name()
                ));
                (None, None)
            } else if let Some(other) = stranger(nic, bindable) {
                remarks.push(format!(
                    "{} could be driven by DPDK, but the IOMMU does not tell it from {other} (one group, {}), which the kernel has: another slot, or --bind vfio-pci once nothing uses that.",
                    nic.name(),
                    nic.iommu_group.as_deref().unwrap_or_default()
                ));
                (None, None)
            } else if nic.iommu_group.is_none() {
                remarks.push(format!(
                    "{} could be driven by DPDK ({}), but there is no IOMMU to confine it: --bind uio_pci_generic, if this is a virtual machine or you accept that.",
                    nic.name(),
                    nic.dpdk.unwrap_or_default()
                ));
                (None, None)
            } else {
                (Some(pci), Some(UserSpace::VfioPci))
            }
        }
    };
    match (pci, &nic.interface) {
        (Some(pci), interface) => {
            let companion =
                if is_uplink { Some(interface.clone().unwrap_or_else(|| name.clone())) } else { None };
            Ok(PlannedPort { name, is_uplink, device: pci.clone(), interface: companion, bind: driver })
        }
        (None, Some(interface)) => Ok(by_kernel(interface)),
        (None, None) => Err(format!(
            "{} belongs to {} and has no Linux interface: bind it to its kernel driver first, or use --bind {}",
            nic.name(),
            nic.driver.as_deref().unwrap_or("no driver"),
            nic.driver.as_deref().unwrap_or("vfio-pci")
        )),
    }
}

/// How somebody uses a NIC, as a remark says it.
fn use_of(nic: &Nic) -> Option<String> {
    match (&nic.master, nic.upper.is_empty()) {
        (Some(master), _) => Some(format!("is part of {master}")),
        (None, false) => Some(format!("carries {}, which you may have come in by", nic.upper.join(", "))),
        _ => nic.used_by().map(|_| "has an address that you may have come in by".into()),
    }
}

/// A device of the same IOMMU group that the kernel keeps.
fn stranger<'a>(nic: &'a Nic, bindable: &[&Nic]) -> Option<&'a str> {
    let is_taken = |device: &str| bindable.iter().any(|other| other.pci.as_deref() == Some(device));
    nic.group_shared_with.iter().map(String::as_str).find(|device| !is_taken(device))
}

/// Isolated cores first, then those that share nothing; of the NICs' node; core 0 and its siblings are the kernel's as long as there
/// are others, and 0 itself as long as there is a sibling.
fn workers(cores: &[Core], node: usize, wanted: Option<usize>, remarks: &mut Vec<String>) -> Vec<usize> {
    let mut order: Vec<&Core> = cores.iter().collect();
    let kernels = |core: &Core| core.id == 0 || core.siblings.contains(&0);
    order.sort_by_key(|core| (kernels(core), core.id == 0, !core.isolated, core.node != node, core.id));
    let mut chosen: Vec<&Core> = Vec::new();
    let isolated = cores.iter().filter(|core| core.isolated).count();
    // A quarter of the machine, unless cores were set aside: two do 10 Gbit/s.
    let count = wanted.unwrap_or(if isolated > 0 { isolated } else { cores.len() / 4 }).clamp(1, 64);
    for core in order {
        // Who sets cores aside says with it how many.
        if wanted.is_none() && isolated > 0 && !core.isolated {
            continue;
        }
        let shared = chosen.iter().any(|other| other.siblings.contains(&core.id));
        if chosen.len() < count && !shared && (wanted.is_some() || chosen.is_empty() || !kernels(core)) {
            chosen.push(core);
        }
    }
    if let Some(wanted) = wanted.filter(|wanted| *wanted > chosen.len()) {
        remarks.push(format!(
            "{wanted} workers were asked for; there are {} physical cores for them.",
            chosen.len()
        ));
    }
    let ids: Vec<usize> = chosen.iter().map(|core| core.id).collect();
    if ids.len() < cores.len() && chosen.iter().any(|core| !core.isolated) {
        let list = ids.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        remarks.push(format!(
            "For the lowest latency keep the kernel off the workers' cores: isolcpus={list} nohz_full={list} rcu_nocbs={list} on its command line, and idle = \"spin\"."
        ));
    }
    ids
}

/// Packet memory and an eighth to spare, on the NICs' node; what there is already counts and is never made less.
fn pages(machine: &Machine, node: usize, memory_mb: u64) -> Vec<Pages> {
    let wanted = (memory_mb + memory_mb / 8) * 1024 / PAGE_KB;
    let of = |pool: &&crate::hugepages::Pool| pool.node == node && pool.page_kb == PAGE_KB;
    let there = machine.hugepages.iter().find(of).map_or(0, |pool| pool.pages);
    vec![Pages { node, page_kb: PAGE_KB, pages: wanted.max(there) }]
}
