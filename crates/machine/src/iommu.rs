//! IOMMUs, and the groups of devices that they tell apart.

use crate::Root;

const GROUPS: &str = "sys/kernel/iommu_groups";

/// Whether an IOMMU is in use.
pub(crate) fn is_there(root: &Root) -> bool {
    root.list(GROUPS).iter().any(|group| is_real(root, group))
}

/// Whether a group is an IOMMU's. vfio makes groups of its own for devices that it takes without one.
pub(crate) fn is_real(root: &Root, group: &str) -> bool {
    root.text(&format!("{GROUPS}/{group}/name")).as_deref() != Some("vfio-noiommu")
}

/// The devices of a group.
pub(crate) fn members(root: &Root, group: &str) -> Vec<String> {
    root.list(&format!("{GROUPS}/{group}/devices"))
}
