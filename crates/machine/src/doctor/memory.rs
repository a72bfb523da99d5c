//! Hugepages, and how much memory may be locked. A running appliance has taken its own already, and has its own limits.

use config::{Config, Device};

use super::Findings;
use crate::{Machine, Root, hugepages};

pub(super) fn examine(root: &Root, machine: &Machine, config: Option<&Config>, findings: &mut Findings) {
    let Some(config) = config else { return };
    let wanted = u64::from(config.system.memory_mb);
    let running = Running::find(root);
    let free =
        hugepages::free_mb(&machine.hugepages) + running.as_ref().map_or(0, |it| it.hugepages_kb / 1024);
    let has_pci = config.ports.iter().any(|port| matches!(port.device, Device::Pci(_)));
    if config.system.hugepages && free < wanted {
        findings.error(
            "hugepages-few",
            format!("{free} MiB are free in hugepages, system.memory_mb takes {wanted}"),
            format!(
                "echo {} > /proc/sys/vm/nr_hugepages; now and at each boot: causeway setup --write, then causeway setup --apply",
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
    let limit = match &running {
        Some(it) => locked_memory_kb(root, &it.pid),
        // The service is not limited by the shell that this was started from.
        None if unit_is_unlimited(root) => None,
        None => locked_memory_kb(root, "self"),
    };
    if let Some(limit) = limit.filter(|limit| has_pci && *limit < wanted * 1024) {
        findings.warning(
            "memlock",
            format!("{limit} KiB may be locked, packet memory needs {wanted} MiB"),
            "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit (the package's unit has it)",
        );
    }
}

/// An appliance that runs on this machine.
struct Running {
    pid: String,
    /// KiB that it has in hugepages.
    hugepages_kb: u64,
}

impl Running {
    /// The one that has taken most: other commands of the program have the same name and take none.
    fn find(root: &Root) -> Option<Self> {
        let pids =
            root.list("proc").into_iter().filter(|name| name.bytes().all(|octet| octet.is_ascii_digit()));
        let of = |pid: String| {
            let name = root.text(&format!("proc/{pid}/comm"))?;
            let status = root.text(&format!("proc/{pid}/status"))?;
            let field = status.lines().find_map(|line| line.strip_prefix("HugetlbPages:"))?;
            let hugepages_kb = field.split_whitespace().next()?.parse().ok()?;
            (name == "causeway" && hugepages_kb > 0).then_some(Self { pid, hugepages_kb })
        };
        pids.filter_map(of).max_by_key(|found| found.hugepages_kb)
    }
}

fn unit_is_unlimited(root: &Root) -> bool {
    let unit = root.text(crate::service::UNIT).unwrap_or_default();
    unit.lines().any(|line| line == "LimitMEMLOCK=infinity")
}

/// KiB that a process may lock; `None` without a limit.
fn locked_memory_kb(root: &Root, pid: &str) -> Option<u64> {
    let text = root.text(&format!("proc/{pid}/limits"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|octets| octets / 1024)
}
