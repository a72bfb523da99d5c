//! What holds now, as the kernel says it (proc(5)).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use caps::Capability;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};

/// What the process may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Effective user and group.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// By name: threads of the same name have the same rights, or are listed as often as they differ.
    pub threads: Vec<ThreadState>,
    /// Whether the process can be traced and dumped.
    pub dumpable: bool,
    /// Octets of a core dump, at most.
    pub core_limit: u64,
    /// Octets of memory that are not written to a swap device.
    pub locked: u64,
}

/// What a thread may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThreadState {
    /// Its name.
    pub name: String,
    /// Its capabilities: those it has and those it could take back.
    pub capabilities: Vec<String>,
    /// Whether it cannot gain privileges by running a program.
    pub no_new_privileges: bool,
    /// Whether its system calls are filtered.
    pub filtered: bool,
}

/// Reads it.
pub fn state() -> State {
    let status = Status::read(Path::new("/proc/self/status"));
    let own = std::process::id() as i32;
    let mut found: Vec<ThreadState> = threads()
        .into_iter()
        .map(|thread| {
            let status = Status::read(Path::new(&format!("/proc/self/task/{thread}/status")));
            let name = if thread == own { "control".into() } else { status.text("Name") };
            ThreadState {
                name,
                capabilities: capabilities(status.hexadecimal("CapPrm") | status.hexadecimal("CapEff")),
                no_new_privileges: status.number("NoNewPrivs") == 1,
                filtered: status.number("Seccomp") == 2,
            }
        })
        .collect();
    found.sort();
    found.dedup();
    State {
        uid: status.number("Uid") as u32,
        gid: status.number("Gid") as u32,
        threads: found,
        dumpable: prctl::get_dumpable().unwrap_or(true),
        core_limit: getrlimit(Resource::RLIMIT_CORE).map_or(u64::MAX, |(soft, _)| soft),
        locked: status.number("VmLck") * 1024,
    }
}

/// The IDs of all threads.
pub(crate) fn threads() -> Vec<i32> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

struct Status(BTreeMap<String, String>);

impl Status {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        Self(text.lines().filter_map(field).collect())
    }

    fn text(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// The first number of a field.
    fn number(&self, name: &str) -> u64 {
        self.text(name).split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    fn hexadecimal(&self, name: &str) -> u64 {
        u64::from_str_radix(&self.text(name), 16).unwrap_or(0)
    }
}

fn capabilities(bits: u64) -> Vec<String> {
    let mut names: Vec<String> = caps::all()
        .into_iter()
        .filter(|cap: &Capability| bits & cap.bitmask() != 0)
        .map(|cap| cap.to_string())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let state = state();
        assert!(!state.threads.is_empty());
        assert!(state.threads.iter().all(|thread| !thread.filtered));
        assert_eq!(capabilities(1 << 12 | 1 << 13), ["CAP_NET_ADMIN", "CAP_NET_RAW"]);
    }
}
