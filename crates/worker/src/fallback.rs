//! Records that go over a session's TLS connection because UDP does not get through: the way from the workers to the
//! control thread and back. Every queue is bounded; what one does not take is dropped and counted.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use bridge::SessionIndex;
use crossbeam::queue::ArrayQueue;
use dpdk::{Mbuf, MbufPool};
use wire::buf::{BufPool, PacketBuf};

/// Records that wait for the control thread, of all workers: 5 ms of a gigabit.
const OUTGOING: usize = 512;

/// Records that wait for one worker.
const INCOMING: usize = 1024;

/// Wakes the control thread. Asked only while it sleeps.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The queues between the workers and the control thread.
pub struct Fallback {
    outgoing: ArrayQueue<(SessionIndex, Mbuf)>,
    incoming: Vec<ArrayQueue<Mbuf>>,
    /// Whether the control thread waits for something to happen.
    asleep: AtomicBool,
    wake: OnceLock<Wake>,
    /// Records for workers that were dropped.
    lost: AtomicU64,
}

impl Fallback {
    /// Queues for so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            outgoing: ArrayQueue::new(OUTGOING),
            incoming: (0..workers).map(|_| ArrayQueue::new(INCOMING)).collect(),
            asleep: AtomicBool::new(false),
            wake: OnceLock::new(),
            lost: AtomicU64::new(0),
        }
    }

    /// From now on the control thread is woken by `wake`.
    pub fn wakes(&self, wake: Wake) {
        // It is set once, by the one control thread.
        let _ = self.wake.set(wake);
    }

    /// The control thread is about to wait. False: there is something to do, and it does not.
    pub fn sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        // Either this thread sees the record, or the worker that has sent it sees that this thread sleeps.
        fence(Ordering::SeqCst);
        let idle = self.outgoing.is_empty();
        if !idle {
            self.asleep.store(false, Ordering::Relaxed);
        }
        idle
    }

    /// The control thread is awake.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// The next record that is to be sent.
    pub fn take(&self) -> Option<(SessionIndex, Mbuf)> {
        self.outgoing.pop()
    }

    /// Gives a record that came to the worker that owns its lane, in a buffer of `pool`.
    pub fn give(&self, pool: &mut MbufPool, worker: usize, record: &[u8]) {
        let copy = || {
            let mut buf = pool.alloc()?;
            buf.append(record.len())?.copy_from_slice(record);
            self.incoming.get(worker)?.push(buf).ok()
        };
        if { copy }().is_none() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many records for workers were dropped since this was asked last.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Takes a record that a worker has sealed. False: it is dropped, since too many wait.
    pub(crate) fn send(&self, session: SessionIndex, record: Mbuf) -> bool {
        self.outgoing.push((session, record)).is_ok()
    }

    /// A burst is over: wakes the control thread if it has something to send and sleeps. While it is busy that costs no system call.
    pub(crate) fn sent(&self) {
        if self.outgoing.is_empty() {
            return;
        }
        fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::Relaxed) {
            self.wake.get().into_iter().for_each(|wake| wake());
        }
    }

    /// The next record for a worker.
    pub(crate) fn received(&self, worker: usize) -> Option<Mbuf> {
        self.incoming.get(worker)?.pop()
    }
}
