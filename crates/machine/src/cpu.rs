//! Cores: where they are, what shares them, and what is kept off them.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::Root;

/// A core, as the kernel numbers them: a hardware thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Core {
    /// Its number.
    pub id: usize,
    /// Its NUMA node.
    pub node: usize,
    /// The other hardware threads of the same physical core.
    pub siblings: Vec<usize>,
    /// Whether the kernel's scheduler leaves it alone (isolcpus).
    pub isolated: bool,
    /// What decides its frequency, where something does.
    pub governor: Option<String>,
}

/// The cores that are online.
pub(crate) fn find(root: &Root) -> Vec<Core> {
    let set = |path: &str| root.text(path).map(|text| list(&text)).unwrap_or_default();
    let isolated = set("sys/devices/system/cpu/isolated");
    let nodes: Vec<(usize, BTreeSet<usize>)> = root
        .list("sys/devices/system/node")
        .iter()
        .filter_map(|name| name.strip_prefix("node")?.parse().ok())
        .map(|node: usize| (node, set(&format!("sys/devices/system/node/node{node}/cpulist"))))
        .collect();
    let online = set("sys/devices/system/cpu/online");
    online
        .into_iter()
        .map(|id| {
            let cpu = format!("sys/devices/system/cpu/cpu{id}");
            let mut siblings = set(&format!("{cpu}/topology/thread_siblings_list"));
            siblings.remove(&id);
            Core {
                id,
                node: nodes.iter().find(|(_, cores)| cores.contains(&id)).map_or(0, |(node, _)| *node),
                siblings: siblings.into_iter().collect(),
                isolated: isolated.contains(&id),
                governor: root.text(&format!("{cpu}/cpufreq/scaling_governor")),
            }
        })
        .collect()
}

/// The kernel's notation of a set of cores: `0-3,8`.
pub fn list(text: &str) -> BTreeSet<usize> {
    let mut cores = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cores.extend(first..=last.min(first + 8191));
        }
    }
    cores
}

/// The flags of the first core, as /proc/cpuinfo has them.
pub(crate) fn flags(root: &Root) -> BTreeSet<String> {
    let text = root.text("proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    line.trim_start_matches([' ', '\t', ':']).split_whitespace().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_cores() {
        assert_eq!(list("0-2,5\n").into_iter().collect::<Vec<_>>(), [0, 1, 2, 5]);
        assert!(list("").is_empty() && list("x-y").is_empty());
    }
}
