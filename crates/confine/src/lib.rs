//! Gives up what the appliance needed to start and does not need to run: other users' rights, capabilities, system calls, core dumps.
//!
//! [`begin`] belongs at the start, before a secret is read; [`confine`] when all ports are open and before the first octet of a peer
//! is read. [`state`] tells what holds now, from what the kernel says.
#![deny(unsafe_code)] // but in `threads`

mod filter;
mod state;
mod threads;

use std::io;
use std::time::Duration;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::unistd::{Uid, User, setgroups, setresgid, setresuid};

pub use state::{State, ThreadState, state};

/// Lock pages when they are first touched, and not all of them now (`MCL_ONFAULT` of mlockall(2)).
const MCL_ONFAULT: i32 = 4;

/// Each thread has so long to give its capabilities up.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is given up and what is kept.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// The user to run as from now on.
    pub user: Option<String>,
    /// Whether an AF_XDP port has to be taken down at the end, which takes `bpf(2)`.
    pub xdp: bool,
}

/// It cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The configuration names a user that there is not.
    #[error("system.user: there is no user {0:?}: create it (adduser --system --group {0}), or drop the key")]
    NoUser(String),
    /// The system refuses.
    #[error("hardening: {0}: {1} (system.hardening = \"off\" starts without)")]
    System(&'static str, io::Error),
    /// Capabilities.
    #[error("hardening: capabilities: {0} (system.hardening = \"off\" starts without)")]
    Capabilities(#[from] caps::errors::CapsError),
    /// A thread keeps what it has.
    #[error("hardening: {0} threads keep their capabilities (system.hardening = \"off\" starts without)")]
    Threads(usize),
    /// The filter of system calls.
    #[error("hardening: system calls: {0} (system.hardening = \"off\" starts without)")]
    Filter(#[from] seccompiler::Error),
}

/// No core dumps, and no other process of the same user that reads our memory.
///
/// # Errors
/// The system refuses.
pub fn begin() -> Result<(), ConfineError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|error| system("core dumps", error))?;
    prctl::set_dumpable(false).map_err(|error| system("not dumpable", error))
}

/// Gives up the rest. The calling thread keeps what changing gateways and addresses takes; all others keep nothing, but the right to
/// lock memory where that is limited.
///
/// # Errors
/// The user does not exist, or the system refuses. What was given up until then stays so.
pub fn confine(wanted: &Confinement) -> Result<(), ConfineError> {
    let by_all = lock_memory(wanted.user.is_some());
    if let Some(name) = &wanted.user {
        become_user(name)?;
    }
    let kept: CapsHashSet = kept(wanted).union(&by_all).copied().collect();
    let permitted = caps::read(None, CapSet::Permitted)?;
    let missing: Vec<String> = kept.difference(&permitted).map(ToString::to_string).collect();
    if !missing.is_empty() {
        tracing::info!(missing = missing.join(" "), "runs without some capabilities, as it was started");
    }
    let kept: CapsHashSet = kept.intersection(&permitted).copied().collect();
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    let others = threads::give_up_capabilities(by_all.iter().map(Capability::bitmask).sum(), PATIENCE);
    if others > 0 {
        return Err(ConfineError::Threads(others));
    }
    prctl::set_no_new_privs().map_err(|error| system("no new privileges", error))?;
    // A change of user made it what /proc/sys/fs/suid_dumpable says.
    prctl::set_dumpable(false).map_err(|error| system("not dumpable", error))?;
    threads::tell_of_forbidden_calls().map_err(|error| system("SIGSYS", error))?;
    filter::apply(wanted.xdp)?;
    Ok(())
}

/// Gives up the capabilities that a new thread has from the one that started it, but the right to lock memory: with a limit, memory that
/// it asks for would be refused. The first thing to do in a thread of the control thread's.
///
/// # Errors
/// The system refuses.
pub fn give_up_capabilities_of_this_thread() -> Result<(), ConfineError> {
    let kept: CapsHashSet = caps::read(None, CapSet::Permitted)?
        .intersection(&CapsHashSet::from([Capability::CAP_IPC_LOCK]))
        .copied()
        .collect();
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}

/// What the control thread needs while it runs: addresses, routes and packet sockets of gateways, ports below 1024.
fn kept(wanted: &Confinement) -> CapsHashSet {
    let mut kept = CapsHashSet::from([
        Capability::CAP_NET_ADMIN,
        Capability::CAP_NET_RAW,
        Capability::CAP_NET_BIND_SERVICE,
    ]);
    if wanted.xdp {
        kept.insert(Capability::CAP_BPF);
    }
    kept
}

/// Keys, passwords and frames are not written to a swap device. Not being allowed to lock memory is no reason not to run. Returns what
/// all threads have to keep for it: with a limit, memory that one asks for later would be refused.
fn lock_memory(changes_user: bool) -> CapsHashSet {
    let unlimited = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    let capable = caps::has_cap(None, CapSet::Effective, Capability::CAP_IPC_LOCK).unwrap_or(false);
    let flags =
        MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | MlockAllFlags::from_bits_retain(MCL_ONFAULT);
    // A change of user takes all capabilities from the other threads.
    let allowed = if capable && !changes_user { Ok(()) } else { unlimited };
    match allowed.and_then(|()| mlockall(flags)) {
        Ok(()) if unlimited.is_err() => CapsHashSet::from([Capability::CAP_IPC_LOCK]),
        Ok(()) => CapsHashSet::new(),
        Err(error) => {
            tracing::warn!(%error, "memory is not locked: keys may be written to a swap device (LimitMEMLOCK=infinity allows it)");
            CapsHashSet::new()
        }
    }
}

/// Another user from now on, in all threads; this one keeps its capabilities.
fn become_user(name: &str) -> Result<(), ConfineError> {
    let found = User::from_name(name).map_err(|error| system("user", error))?;
    let user = found.ok_or_else(|| ConfineError::NoUser(name.into()))?;
    if Uid::effective() == user.uid {
        return Ok(());
    }
    prctl::set_keepcaps(true).map_err(|error| system("keep capabilities", error))?;
    setgroups(&[user.gid]).map_err(|error| system("groups", error))?;
    setresgid(user.gid, user.gid, user.gid).map_err(|error| system("group", error))?;
    setresuid(user.uid, user.uid, user.uid).map_err(|error| system("user", error))?;
    prctl::set_keepcaps(false).map_err(|error| system("keep capabilities", error))
}

/// Whether there is a user of this name.
///
/// # Errors
/// There is none.
pub fn check_user(name: &str) -> Result<(), ConfineError> {
    match User::from_name(name) {
        Ok(Some(_)) => Ok(()),
        _ => Err(ConfineError::NoUser(name.into())),
    }
}

fn system(what: &'static str, error: nix::Error) -> ConfineError {
    ConfineError::System(what, error.into())
}
