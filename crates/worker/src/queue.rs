//! One worker's pair of queues of one port, whatever kind of port that is.

use arrayvec::ArrayVec;
use counters::{CoreCounters, DropReason};
use dpdk::{Mbuf, MbufPool, RxQueue, TxQueue};
use kernelport::{KernelRx, KernelTx, Lost};
use pipeline::BURST;
use pipeline::tables::PortIndex;

/// One worker's queues of one port.
pub struct PortQueues {
    /// The port.
    pub port: PortIndex,
    /// The queues.
    pub queues: Queues,
    /// How often they are polled.
    pub pace: Pace,
}

/// How often a worker that is busy polls a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// In every round.
    Always,
    /// In every eighth round: a gateway, of which there may be many, each of which costs a system call.
    Seldom,
}

/// A port comes or goes while the worker runs.
pub enum PortChange {
    /// Poll these queues too.
    Add(PortQueues),
    /// Poll the port no more, and give its queues up. Only for kernel ports: those of DPDK live as long as the appliance.
    Remove(PortIndex),
}

/// A pair of queues.
pub enum Queues {
    /// Of a DPDK port.
    Dpdk(RxQueue, TxQueue),
    /// Of a Linux interface.
    Kernel(Box<(KernelRx, KernelTx<BURST>)>),
}

impl PortQueues {
    /// Takes what has arrived into the empty `burst`, and returns how many.
    pub(crate) fn receive(
        &mut self,
        pool: &mut MbufPool,
        counters: &CoreCounters,
        burst: &mut ArrayVec<Mbuf, BURST>,
    ) -> usize {
        match &mut self.queues {
            Queues::Dpdk(rx, _) => {
                let received = rx.burst(burst);
                drop_scattered(burst, counters);
                received
            }
            Queues::Kernel(pair) => {
                let (rx, _) = &mut **pair;
                let received = rx.burst(pool, burst);
                let Lost { malformed, no_buffer } = std::mem::take(&mut rx.lost);
                if malformed + no_buffer > 0 {
                    counters.drops.add(DropReason::SuperFrame, malformed);
                    counters.drops.add(DropReason::NoBuffer, no_buffer);
                }
                received
            }
        }
    }

    /// Sends what the port takes, frees all, and returns how many were sent.
    pub(crate) fn send(&mut self, waiting: &mut ArrayVec<Mbuf, BURST>) -> usize {
        let sent = match &mut self.queues {
            Queues::Dpdk(_, tx) => tx.burst(waiting),
            Queues::Kernel(pair) => pair.1.burst(waiting),
        };
        // A DPDK port has taken what it sent; of a kernel port all is still here.
        dpdk::free_burst(waiting);
        sent
    }

    /// The kernel port's receiving half, which can be waited for.
    pub(crate) fn kernel(&self) -> Option<&KernelRx> {
        match &self.queues {
            Queues::Dpdk(..) => None,
            Queues::Kernel(pair) => Some(&pair.0),
        }
    }
}

/// The pipeline works on packets in one piece. Others come only from a port whose MTU is larger than our buffers.
fn drop_scattered(burst: &mut ArrayVec<Mbuf, BURST>, counters: &CoreCounters) {
    let received = burst.len();
    burst.retain(|buf| buf.is_contiguous());
    if burst.len() < received {
        counters.drops.add(DropReason::Multisegment, (received - burst.len()) as u64);
    }
}
