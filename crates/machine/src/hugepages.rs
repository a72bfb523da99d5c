//! Hugepages: memory in pages of 2 MiB or 1 GiB, which packet buffers that a NIC writes to need.

use serde::{Deserialize, Serialize};

use crate::Root;

/// The hugepages of one size on one NUMA node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The node.
    pub node: usize,
    /// KiB of a page.
    pub page_kb: u64,
    /// Pages that there are.
    pub pages: u64,
    /// Those that nobody uses.
    pub free: u64,
}

impl Pool {
    /// The file that says how many there are to be.
    pub(crate) fn file(&self) -> String {
        format!(
            "sys/devices/system/node/node{}/hugepages/hugepages-{}kB/nr_hugepages",
            self.node, self.page_kb
        )
    }
}

pub(crate) fn find(root: &Root) -> Vec<Pool> {
    let mut pools = Vec::new();
    for name in root.list("sys/devices/system/node") {
        let Some(node) = name.strip_prefix("node").and_then(|text| text.parse().ok()) else { continue };
        let directory = format!("sys/devices/system/node/{name}/hugepages");
        for size in root.list(&directory) {
            let kb = size.strip_prefix("hugepages-").and_then(|text| text.strip_suffix("kB"));
            let Some(page_kb) = kb.and_then(|text| text.parse().ok()) else { continue };
            let count =
                |file: &str| root.number(&format!("{directory}/{size}/{file}")).unwrap_or(0).max(0) as u64;
            pools.push(Pool { node, page_kb, pages: count("nr_hugepages"), free: count("free_hugepages") });
        }
    }
    pools
}

/// MiB in hugepages that nobody uses.
pub fn free_mb(pools: &[Pool]) -> u64 {
    pools.iter().map(|pool| pool.free * pool.page_kb / 1024).sum()
}
