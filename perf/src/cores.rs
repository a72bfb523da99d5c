//! Which core a thread runs on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// This thread runs on one core only until this is dropped.
pub(crate) struct Pinned(CpuSet);

impl Pinned {
    /// Pins the calling thread.
    pub(crate) fn to(core: usize) -> Result<Self, String> {
        let this = Pid::from_raw(0);
        let fail = |error| format!("cannot run on core {core}: {error}");
        let before = sched_getaffinity(this).map_err(fail)?;
        let mut set = CpuSet::new();
        set.set(core).map_err(fail)?;
        sched_setaffinity(this, &set).map_err(fail)?;
        Ok(Self(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Where it ran before it may run again; should the kernel think otherwise, no figure is wrong.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}

/// Cores that this thread may run on.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
