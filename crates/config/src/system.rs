//! `[system]`: how the appliance runs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::reader::Table;

/// Most workers: each has a lane of its own in every session, of which the protocol allows so many.
const MAX_WORKERS: usize = 64;

/// Where the running appliance is asked, unless its configuration says otherwise.
pub const SOCKET: &str = "/run/causeway/causeway.sock";

/// How the appliance runs.
#[derive(Clone, Debug)]
pub struct System {
    /// The core of each worker, as the kernel numbers them.
    pub workers: Vec<usize>,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// Whether packet memory comes from hugepages.
    pub hugepages: bool,
    /// Memory for packets in MiB.
    pub memory_mb: u32,
    /// Where `causeway show` finds the appliance.
    pub socket: PathBuf,
    /// Where the appliance keeps what it makes by itself.
    pub state: PathBuf,
    /// How the log looks.
    pub log: LogFormat,
    /// Who computes AES-GCM.
    pub aead: Aead,
    /// How long a MAC address is remembered after it was last seen.
    pub mac_age: Duration,
    /// Most MAC addresses.
    pub max_macs: usize,
    /// After what time a path that carries less than its uplink is tried with larger records again.
    pub path_mtu_raise: Duration,
    /// The DSCP of records.
    pub dscp: u8,
    /// Whether records have the DSCP of the packets in them instead.
    pub copy_dscp: bool,
    /// Whether records understand congestion signals as the packets in them do.
    pub ecn: bool,
    /// Whether the appliance gives up, once it runs, what it does not need any more.
    pub hardening: bool,
    /// The user that it runs as from then on.
    pub user: Option<String>,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Poll on.
    Spin,
    /// Sleep between polls, at most so long.
    Adaptive(Duration),
}

/// Who computes AES-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aead {
    /// Whoever is the fastest on this machine, measured at start.
    Auto,
    /// The `ring` crate.
    Ring,
    /// Intel's `libipsec-mb`.
    IpsecMb,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// To the journal when systemd has started us, else for people.
    Auto,
    /// For people.
    Text,
    /// To the journal, with fields.
    Journal,
    /// One JSON object a line.
    Json,
}

pub(crate) fn read(table: &Table<'_>, directory: &Path) -> System {
    let workers = table.numbers("workers", 0..=1023).and_then(|cores| {
        let distinct: HashSet<_> = cores.value.iter().collect();
        let fault = match cores.value.len() {
            0 => "names no core: at least one worker is needed",
            count if count > MAX_WORKERS => "names more than 64 cores",
            count if count > distinct.len() => "names a core twice: each worker needs one of its own",
            _ => return Some(cores.value),
        };
        table.fault(Some(cores.at), "workers", fault);
        None
    });
    let number = |key, range, default| table.number(key, range).map_or(default, |found| found.value);
    let sleep = Duration::from_micros(number("idle_sleep_us", 3..=10_000, 150));
    let idle = match table.string("idle") {
        None => Idle::Adaptive(sleep),
        Some(found) => match found.value.as_str() {
            "adaptive" => Idle::Adaptive(sleep),
            "spin" => Idle::Spin,
            other => {
                table.fault(
                    Some(found.at),
                    "idle",
                    format!("{other:?} is neither \"adaptive\" nor \"spin\""),
                );
                Idle::Spin
            }
        },
    };
    let log = match table.string("log") {
        None => LogFormat::Auto,
        Some(found) => match found.value.as_str() {
            "auto" => LogFormat::Auto,
            "journal" => LogFormat::Journal,
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                let text = format!("{other:?} is none of \"auto\", \"journal\", \"text\", \"json\"");
                table.fault(Some(found.at), "log", text);
                LogFormat::Auto
            }
        },
    };
    let aead = match table.string("aead") {
        None => Aead::Auto,
        Some(found) => match found.value.as_str() {
            "auto" => Aead::Auto,
            "ring" => Aead::Ring,
            "ipsec-mb" => Aead::IpsecMb,
            other => {
                let text = format!("{other:?} is neither \"auto\" nor \"ring\" nor \"ipsec-mb\"");
                table.fault(Some(found.at), "aead", text);
                Aead::Auto
            }
        },
    };
    let dscp = table.number("dscp", 0..=63);
    let copy_dscp = table.boolean("copy_dscp").unwrap_or(false);
    if let Some(found) = dscp.as_ref().filter(|_| copy_dscp) {
        table.fault(Some(found.at), "dscp", "has no meaning with copy_dscp = true: drop one of them");
    }
    let hardening = match table.string("hardening") {
        None => true,
        Some(found) => match found.value.as_str() {
            "on" => true,
            "off" => false,
            other => {
                table.fault(Some(found.at), "hardening", format!("{other:?} is neither \"on\" nor \"off\""));
                true
            }
        },
    };
    let user = table.string("user");
    if let Some(user) = user.as_ref().filter(|_| !hardening) {
        table.fault(Some(user.at), "user", "has no effect with hardening = \"off\": drop one of them");
    }
    let system = System {
        dscp: dscp.map_or(0, |found| found.value) as u8,
        copy_dscp,
        ecn: table.boolean("ecn").unwrap_or(false),
        workers: workers
            .map_or_else(|| vec![0], |cores| cores.into_iter().map(|core| core as usize).collect()),
        idle,
        hugepages: table.boolean("hugepages").unwrap_or(false),
        memory_mb: number("memory_mb", 64..=1 << 20, 256) as u32,
        socket: directory.join(table.string("socket").map_or(SOCKET.into(), |found| found.value)),
        state: directory.join(table.string("state").map_or("/var/lib/causeway".into(), |found| found.value)),
        log,
        aead,
        mac_age: Duration::from_secs(number("mac_age_s", 10..=1_000_000, 300)),
        max_macs: number("max_macs", 16..=4 << 20, 65_536) as usize,
        path_mtu_raise: Duration::from_secs(number("path_mtu_raise_s", 1..=86_400, 600)),
        hardening,
        user: user.map(|found| found.value),
    };
    table.finish();
    system
}
