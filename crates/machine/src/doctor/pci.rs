//! Ports that are NICs on the PCI bus.

use config::{Port, Role};

use super::{Findings, has_module};
use crate::nic::Nic;
use crate::{Machine, Root};

pub(super) fn examine(root: &Root, machine: &Machine, port: &Port, address: &str, findings: &mut Findings) {
    let Some(nic) = machine.nic(address) else {
        findings.error(
            "nic-missing",
            format!("port {:?}: there is no network device {address}", port.name),
            "causeway setup lists the NICs of this machine",
        );
        return;
    };
    let id = nic.id.as_deref().unwrap_or_default();
    if nic.dpdk.is_none() {
        findings.error(
            "nic-unsupported",
            format!("port {:?}: the appliance has no driver for {address} ({} {id})", port.name, nic.model),
            format!(
                "use the kernel's: device = \"kernel:{}\"",
                nic.interface.as_deref().unwrap_or("INTERFACE")
            ),
        );
    } else if nic.is_bound_for_user_space() {
        bound(root, nic, address, findings);
    } else if !nic.stays_with_the_kernel() {
        findings.error(
            "nic-bound-to-kernel",
            format!(
                "port {:?}: {address} is bound to {}, not to vfio-pci or uio_pci_generic",
                port.name,
                nic.driver.as_deref().unwrap_or("no driver")
            ),
            "causeway setup --write, with this NIC as --trunk or --uplink, then causeway setup --apply: it is bound now and at each boot",
        );
        if !has_module(root, "vfio-pci") && !has_module(root, "uio_pci_generic") {
            findings.error(
                "module-missing",
                "this kernel has neither vfio-pci nor uio_pci_generic",
                "boot a kernel that has one: linux-image-amd64 has, linux-image-cloud-amd64 has not",
            );
        }
    }
    firmware(root, nic, address, findings);
    if port.role == Role::Trunk {
        super::network::promiscuous(machine, nic, &port.name, findings);
    }
}

/// What the driver of an E810 wants from Intel before it gives it its queues.
fn firmware(root: &Root, nic: &Nic, address: &str, findings: &mut Findings) {
    let files = ["updates/", ""].map(|place| format!("lib/firmware/{place}intel/ice/ddp/ice.pkg"));
    if nic.dpdk == Some("ice") && !files.iter().any(|file| root.has(file)) {
        findings.error(
            "firmware-missing",
            format!("{address} needs Intel's DDP package: /{} is not there", files[1]),
            "apt install firmware-misc-nonfree (of Debian's section non-free-firmware)",
        );
    }
}

fn bound(root: &Root, nic: &Nic, address: &str, findings: &mut Findings) {
    if nic.driver.as_deref() != Some("vfio-pci") {
        return;
    }
    if let Some(group) = &nic.iommu_group {
        if !nic.group_shared_with.is_empty() {
            findings.error(
                "iommu-group-shared",
                format!(
                    "{address} is in IOMMU group {group} together with {}, which the kernel has: vfio-pci does not give it away",
                    nic.group_shared_with.join(", ")
                ),
                "put the NIC into another slot, or unbind the others from the kernel's drivers",
            );
        }
        return;
    }
    let unsafe_mode = root.text("sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
    if unsafe_mode.as_deref() == Some("Y") {
        findings.warning(
            "unsafe-dma",
            format!("{address} is bound to vfio-pci without an IOMMU: the NIC can write anywhere in memory"),
            "switch the IOMMU on in the firmware (VT-d, AMD-Vi) and by intel_iommu=on; virtual machines often have none",
        );
    } else {
        findings.error(
            "iommu-off",
            format!("{address} is bound to vfio-pci, but there is no IOMMU"),
            "switch it on in the firmware and by intel_iommu=on; without one: options vfio enable_unsafe_noiommu_mode=1",
        );
    }
}
