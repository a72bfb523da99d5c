//! What a worker does when its queues are empty.

use std::thread::sleep;
use std::time::Duration;

use arrayvec::ArrayVec;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::PortQueues;
use crate::ports::Ports;

/// Empty polls in a row before an adaptive worker sleeps: a poll of memory costs little, one of the kernel a system call.
const EMPTY_POLLS: u32 = 64;
const EMPTY_KERNEL_POLLS: u32 = 8;

/// Sleeps in a row after which they become three times as long: traffic that pauses for some 25 ms can bear the whole bound.
const SHORT_SLEEPS: u32 = 400;

/// How long a worker waits for kernel ports, which wake it: only orders of the control thread wait so long.
const KERNEL_WAIT: Duration = Duration::from_millis(1);

/// Most kernel ports that are waited for.
const MAX_WAITED: usize = 32;

/// What to do when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdlePolicy {
    /// Poll on: for cores that do nothing else.
    Spin,
    /// After some empty polls sleep between polls, never longer than this: for machines with few cores. A frame on a
    /// kernel port ends the sleep at once.
    Adaptive(Duration),
}

/// Counts empty polls and sleeps when the policy says so.
pub(crate) struct Idle {
    policy: IdlePolicy,
    patience: u32,
    /// Whether every port wakes a worker that waits for it.
    all_wake: bool,
    empty: u32,
    sleeps: u32,
}

impl Idle {
    /// For the `workers` workers of an appliance; one that has others also waits for what they hand over, which does not wake it.
    pub(crate) fn new(policy: IdlePolicy, ports: &Ports, workers: usize) -> Self {
        if matches!(policy, IdlePolicy::Adaptive(_)) {
            // The default slack of 50 us would double the sleep. Not being allowed to is no harm.
            if let Err(error) = nix::sys::prctl::set_timerslack(1) {
                tracing::debug!(%error, "cannot set the timer slack");
            }
        }
        let mut idle = Self { policy, patience: EMPTY_POLLS, all_wake: false, empty: 0, sleeps: 0 };
        idle.ports_changed(ports, workers);
        idle
    }

    /// Other ports are to be waited for.
    pub(crate) fn ports_changed(&mut self, ports: &Ports, workers: usize) {
        let all = ports.queues().count();
        let kernel = ports.queues().filter(|queues| queues.kernel().is_some()).count();
        self.patience = if kernel > 0 { EMPTY_KERNEL_POLLS } else { EMPTY_POLLS };
        self.all_wake = workers == 1 && kernel == all && kernel <= MAX_WAITED;
    }

    /// Whether nothing was done in the last round.
    pub(crate) fn is_idle(&self) -> bool {
        self.empty > 0
    }

    /// Something was done in this round.
    pub(crate) fn busy(&mut self) {
        self.empty = 0;
        self.sleeps = 0;
    }

    /// Nothing was done in this round. Returns whether it slept.
    pub(crate) fn idle(&mut self, ports: &Ports) -> bool {
        match self.policy {
            IdlePolicy::Adaptive(bound) if self.empty >= self.patience => {
                self.sleeps = self.sleeps.saturating_add(1);
                let pause = if self.all_wake {
                    KERNEL_WAIT
                } else if self.sleeps > SHORT_SLEEPS {
                    bound
                } else {
                    bound / 3
                };
                wait(ports, pause);
                true
            }
            _ => {
                self.empty += 1;
                std::hint::spin_loop();
                false
            }
        }
    }
}

/// Sleeps until `pause` is over or a kernel port has a frame.
fn wait(ports: &Ports, pause: Duration) {
    let kernel = ports.queues().filter_map(PortQueues::kernel).take(MAX_WAITED);
    let mut fds: ArrayVec<PollFd<'_>, MAX_WAITED> =
        kernel.map(|rx| PollFd::new(rx.fd(), PollFlags::POLLIN)).collect();
    if fds.is_empty() {
        return sleep(pause);
    }
    // Whatever it says, all queues are polled next.
    let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(pause)), None);
}
