//! What the kernel knows of this process (proc(5)).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The kernel's clock ticks of proc(5) are 1/100 s on every Linux that user space sees (`USER_HZ`).
const TICKS: f64 = 100.0;
const PAGE: u64 = 4096;

/// What the kernel counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) cpu_seconds: f64,
    pub(crate) virtual_bytes: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) threads: u64,
    pub(crate) open_fds: usize,
    pub(crate) max_fds: Option<u64>,
    /// CPU time of the control thread and of each worker.
    pub(crate) by_thread: BTreeMap<String, f64>,
}

/// Reads it; `None` where there is no proc file system.
pub(crate) fn read() -> Option<Process> {
    let root = Path::new("/proc/self");
    let stat = Stat::parse(&fs::read_to_string(root.join("stat")).ok()?)?;
    let limits = fs::read_to_string(root.join("limits")).unwrap_or_default();
    let max_fds = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let tasks = fs::read_dir(root.join("task")).into_iter().flatten().flatten();
    let own = std::process::id().to_string();
    let by_thread = tasks.filter_map(|task| {
        let stat = Stat::parse(&fs::read_to_string(task.path().join("stat")).ok()?)?;
        if task.file_name() == own.as_str() {
            return Some(("control".into(), stat.cpu_seconds));
        }
        (stat.name.starts_with("worker-") || stat.name == "watch").then_some((stat.name, stat.cpu_seconds))
    });
    Some(Process {
        open_fds: fs::read_dir(root.join("fd")).into_iter().flatten().count(),
        max_fds: max_fds.and_then(|line| line.split_whitespace().next()?.parse().ok()),
        by_thread: by_thread.collect(),
        cpu_seconds: stat.cpu_seconds,
        virtual_bytes: stat.virtual_bytes,
        resident_bytes: stat.resident_bytes,
        threads: stat.threads,
    })
}

struct Stat {
    name: String,
    cpu_seconds: f64,
    threads: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Stat {
    /// The name stands in parentheses and may have some itself.
    fn parse(line: &str) -> Option<Self> {
        let (front, rest) = line.rsplit_once(')')?;
        let name = front.split_once('(')?.1.to_owned();
        // The first is field 3 of proc(5).
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            name,
            cpu_seconds: (field(14)? + field(15)?) as f64 / TICKS,
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * PAGE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_understood() {
        let line =
            "7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 3 0 99 8192 5 18446744073709551615 1";
        let stat = Stat::parse(line).expect("a line");
        assert_eq!((stat.name.as_str(), stat.cpu_seconds, stat.threads), ("a) b", 2.0, 3));
        assert_eq!((stat.virtual_bytes, stat.resident_bytes), (8192, 5 * PAGE));
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn this_process_is_there() {
        let process = read().expect("a proc file system");
        assert!(process.open_fds > 2 && process.resident_bytes > 0 && process.threads > 0);
    }
}
