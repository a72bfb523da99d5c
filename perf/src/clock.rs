//! The time stamp counter.
#![allow(unsafe_code)]

/// Ticks of the time stamp counter, which runs at one rate whatever the core does.
#[inline]
pub(crate) fn now() -> u64 {
    // SAFETY: every x86-64 has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}
