//! What has to be done in each thread of the process: the kernel changes capabilities of the calling thread only, and DPDK's own
//! threads know nothing of us. A signal makes each of them call `capset` itself, as libpsx does.
#![allow(unsafe_code, reason = "signal handlers, and a system call in each thread")]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Version 3 of capset(2): two words of each set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Threads that have given theirs up.
static DONE: AtomicUsize = AtomicUsize::new(0);

/// The capabilities that they keep, one bit each.
static KEPT: AtomicU64 = AtomicU64::new(0);

#[repr(C)]
struct Header {
    version: u32,
    /// 0: the calling thread.
    pid: i32,
}

/// Makes every thread but the calling one give up all its capabilities but `kept`. Returns how many did not.
pub(crate) fn give_up_capabilities(kept: u64, patience: Duration) -> usize {
    KEPT.store(kept, Ordering::SeqCst);
    let number = libc::SIGRTMIN() + 4;
    let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    let Some(old) = install(number, handler, libc::SA_RESTART) else { return usize::MAX };
    DONE.store(0, Ordering::SeqCst);
    let own = nix::unistd::gettid().as_raw();
    let mut asked = 0;
    for thread in crate::state::threads() {
        if thread != own {
            // SAFETY: sends a signal, for which a handler is installed, to a thread of this process; one that has ended by now is
            // refused.
            let sent =
                unsafe { libc::syscall(libc::SYS_tgkill, nix::unistd::getpid().as_raw(), thread, number) };
            asked += usize::from(sent == 0);
        }
    }
    let until = Instant::now() + patience;
    while DONE.load(Ordering::SeqCst) < asked && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(200));
    }
    let left = asked.saturating_sub(DONE.load(Ordering::SeqCst));
    if left == 0 {
        // SAFETY: puts back what was there before, as `sigaction` gave it. Every signal that was sent has been handled.
        unsafe { libc::sigaction(number, &old, std::ptr::null_mut()) };
    }
    left
}

/// Installs a handler by number: signals of real time have no name in `nix`.
fn install(number: libc::c_int, handler: libc::sighandler_t, flags: libc::c_int) -> Option<libc::sigaction> {
    // SAFETY: both structures are plain data for which zeros are valid, and live during the call. The handler does only what may be
    // done in a handler (signal-safety(7)).
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut old: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        (libc::sigaction(number, &action, &mut old) == 0).then_some(old)
    }
}

extern "C" fn on_signal(_: libc::c_int) {
    let before = Errno::last();
    let header = Header { version: CAPABILITY_VERSION_3, pid: 0 };
    let kept = KEPT.load(Ordering::SeqCst);
    // Effective, permitted, inheritable: the lower half of each, then the upper.
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: a system call with two pointers to structures of the right size on this thread's stack; system calls may be done in a
    // handler.
    let done = unsafe { libc::syscall(libc::SYS_capset, &header, &sets) };
    if done == 0 {
        DONE.fetch_add(1, Ordering::SeqCst);
    }
    before.set();
}

/// Says which system call was forbidden before the process dies of it.
pub(crate) fn tell_of_forbidden_calls() -> Result<(), Errno> {
    let action = SigAction::new(SigHandler::SigAction(on_forbidden), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does only what may be done in a handler: write, and end.
    unsafe { sigaction(Signal::SIGSYS, &action) }.map(drop)
}

extern "C" fn on_forbidden(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    /// Offset of `si_syscall` in `siginfo_t` of 64-bit machines: behind three numbers, their padding and `si_call_addr`.
    const SI_SYSCALL: usize = 24;
    // SAFETY: the kernel hands over a whole `siginfo_t` of 128 octets.
    let number = unsafe { info.cast::<u8>().add(SI_SYSCALL).cast::<i32>().read_unaligned() };
    let mut line = *b"causeway: system call ____ is forbidden to it (seccomp) and was not done: ends\n";
    let (mut rest, mut at) = (number.unsigned_abs(), 26);
    while at > 22 {
        at -= 1;
        line[at] = if rest == 0 && at < 25 { b' ' } else { b'0' + (rest % 10) as u8 };
        rest /= 10;
    }
    // SAFETY: `write` of a buffer on this stack; `signal` and `raise` may be called in a handler. SIGSYS is pending until the
    // handler returns, and ends the process then.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        libc::signal(libc::SIGSYS, libc::SIG_DFL);
        libc::raise(libc::SIGSYS);
    }
}
