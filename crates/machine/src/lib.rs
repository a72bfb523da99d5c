//! The machine below an appliance, as sysfs and procfs tell of it: [`Machine::look`] reads it, [`doctor`] finds what is wrong
//! with it, [`Plan`] proposes how to set it up, and [`setup`] does that and puts back what was there.
//!
//! Everything is read and written below a [`Root`], which is `/` or, in tests, a tree of files.
#![forbid(unsafe_code)]

pub mod cpu;
pub mod doctor;
pub mod hugepages;
mod iommu;
pub mod nic;
mod nic_names;
pub mod plan;
mod root;
pub mod service;
pub mod setup;

pub use plan::Plan;
pub use root::{Kernel, Root};

use serde::Serialize;

/// What there is.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Network interfaces and NICs, those that are bound to a driver of DPDK included.
    pub nics: Vec<nic::Nic>,
    /// The cores that are online, by number.
    pub cores: Vec<cpu::Core>,
    /// Hugepages by NUMA node and size.
    pub hugepages: Vec<hugepages::Pool>,
    /// Whether an IOMMU is in use.
    pub iommu: bool,
    /// The maker of the machine, as its firmware says; of a virtual machine the hypervisor's or the cloud's name.
    pub vendor: String,
}

impl Machine {
    /// Looks at the machine.
    pub fn look(root: &Root) -> Self {
        Self {
            nics: nic::find(root),
            cores: cpu::find(root),
            hugepages: hugepages::find(root),
            iommu: iommu::is_there(root),
            vendor: root.text("sys/class/dmi/id/sys_vendor").unwrap_or_default(),
        }
    }

    /// The NIC or interface with this PCI address or interface name.
    pub fn nic(&self, name: &str) -> Option<&nic::Nic> {
        self.nics
            .iter()
            .find(|nic| nic.interface.as_deref() == Some(name) || nic.pci.as_deref() == Some(name))
    }
}
