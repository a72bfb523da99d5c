//! Records that one worker's queue received and another worker's lane needs.

use crossbeam::queue::ArrayQueue;
use dpdk::Mbuf;
use pipeline::tables::PortIndex;

/// Records that wait for one worker.
const WAITING: usize = 1024;

/// The way from every worker to every other: one bounded queue for each, which all others fill.
#[derive(Debug)]
pub struct Handover(Vec<ArrayQueue<(PortIndex, Mbuf)>>);

impl Handover {
    /// Queues for so many workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| ArrayQueue::new(WAITING)).collect())
    }

    /// Gives a packet to a worker. False, with the packet freed, when it does not take it in time.
    pub(crate) fn give(&self, worker: usize, port: PortIndex, buf: Mbuf) -> bool {
        self.0.get(worker).is_some_and(|queue| queue.push((port, buf)).is_ok())
    }

    /// The next packet for a worker.
    pub(crate) fn take(&self, worker: usize) -> Option<(PortIndex, Mbuf)> {
        self.0.get(worker)?.pop()
    }
}
