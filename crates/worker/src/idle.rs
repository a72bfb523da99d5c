//! What a worker does when its queues are empty.

use std::thread::sleep;
use std::time::Duration;

/// Empty polls in a row before an adaptive worker sleeps.
const EMPTY_POLLS: u32 = 64;

/// Sleeps in a row after which they become three times as long: traffic that pauses for some 25 ms can bear another 100 us.
const SHORT_SLEEPS: u32 = 400;

/// What to do when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdlePolicy {
    /// Poll on: for cores that do nothing else.
    Spin,
    /// After some empty polls sleep this long between polls, and three times as long when there is nothing to do for a
    /// while: for machines with few cores.
    Adaptive(Duration),
}

/// Counts empty polls and sleeps when the policy says so.
pub(crate) struct Idle {
    policy: IdlePolicy,
    empty: u32,
    sleeps: u32,
}

impl Idle {
    pub(crate) fn new(policy: IdlePolicy) -> Self {
        if matches!(policy, IdlePolicy::Adaptive(_)) {
            // The default slack of 50 us would double the sleep. Not being allowed to is no harm.
            if let Err(error) = nix::sys::prctl::set_timerslack(1) {
                tracing::debug!(%error, "cannot set the timer slack");
            }
        }
        Self { policy, empty: 0, sleeps: 0 }
    }

    /// Something was done in this round.
    pub(crate) fn busy(&mut self) {
        self.empty = 0;
        self.sleeps = 0;
    }

    /// Nothing was done in this round. Returns whether it slept.
    pub(crate) fn idle(&mut self) -> bool {
        match self.policy {
            IdlePolicy::Adaptive(pause) if self.empty >= EMPTY_POLLS => {
                self.sleeps = self.sleeps.saturating_add(1);
                sleep(if self.sleeps > SHORT_SLEEPS { 3 * pause } else { pause });
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
