//! Hugepages, and how much memory may be locked.

use config::{Config, Device};

use super::Findings;
use crate::{Machine, Root, hugepages};

pub(super) fn examine(root: &Root, machine: &Machine, config: Option<&Config>, findings: &mut Findings) {
    let Some(config) = config else { return };
    let wanted = u64::from(config.system.memory_mb);
    let free = hugepages::free_mb(&machine.hugepages);
    let has_pci = config.ports.iter().any(|port| matches!(port.device, Device::Pci(_)));
    if config.system.hugepages && free < wanted {
        findings.error(
            "hugepages-few",
            format!("{free} MiB are free in hugepages, system.memory_mb takes {wanted}"),
            format!(
                "echo {} > /proc/sys/vm/nr_hugepages, better at boot: causeway setup --write. A running appliance has taken its own already",
                wanted.div_ceil(2) + 64
            ),
        );
    }
    if has_pci && !config.system.hugepages {
        findings.warning(
            "hugepages-unused",
            "a port is a NIC on the PCI bus, but system.hugepages is false",
            "set hugepages = true: most NICs write only to hugepages, and lookups in them are faster",
        );
    }
    let limit = locked_memory_kb(root);
    if let Some(limit) = limit.filter(|limit| has_pci && *limit < wanted * 1024) {
        findings.warning(
            "memlock",
            format!("{limit} KiB may be locked, packet memory needs {wanted} MiB"),
            "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit (the package's unit has it)",
        );
    }
}

/// KiB that this process may lock; `None` without a limit.
fn locked_memory_kb(root: &Root) -> Option<u64> {
    let text = root.text("proc/self/limits")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|octets| octets / 1024)
}
