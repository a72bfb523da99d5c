//! The way out: collects the packets of a burst by port and sends them together.

use arrayvec::ArrayVec;
use counters::{CoreCounters, DropReason};
use dpdk::Mbuf;
use pipeline::tables::PortIndex;
use pipeline::{BURST, Sink};
use wire::buf::PacketBuf;

use crate::{Handover, PortQueues};

/// Packets that wait for the end of a burst, by port.
pub(crate) struct PortSink<'a> {
    queues: &'a mut [PortQueues],
    waiting: &'a mut [ArrayVec<Mbuf, BURST>],
    counters: &'a CoreCounters,
    handover: &'a Handover,
}

impl<'a> PortSink<'a> {
    /// `waiting` has one place for each of `queues`.
    pub(crate) fn new(
        queues: &'a mut [PortQueues],
        waiting: &'a mut [ArrayVec<Mbuf, BURST>],
        counters: &'a CoreCounters,
        handover: &'a Handover,
    ) -> Self {
        Self { queues, waiting, counters, handover }
    }

    /// Sends everything that waits.
    pub(crate) fn flush(&mut self) {
        for slot in 0..self.waiting.len() {
            if !self.waiting[slot].is_empty() {
                self.transmit(slot);
            }
        }
    }

    /// Gives a port all its packets. What it does not take is dropped: a stalled port must not
    /// stall the others.
    fn transmit(&mut self, slot: usize) {
        let waiting = &mut self.waiting[slot];
        let (count, octets) = (waiting.len(), octets_of(waiting));
        let port = self.queues[slot].port;
        let sent = self.queues[slot].send(waiting);
        if let Some(counters) = self.counters.ports.get(port.index()) {
            counters.tx_frames.add(sent as u64);
            // All octets, or of those that were taken their share.
            counters.tx_octets.add(octets * sent as u64 / count as u64);
        }
        if sent < count {
            self.counters.drops.add(DropReason::TxQueueFull, (count - sent) as u64);
        }
    }
}

impl Sink<Mbuf> for PortSink<'_> {
    fn send(&mut self, port: PortIndex, buf: Mbuf) {
        // Every worker has queues of every port, in their order.
        let slot = port.index();
        let Some(_) = self.queues.get(slot).filter(|queues| queues.port == port) else {
            self.counters.drops.add(DropReason::NoDestination, 1);
            return;
        };
        if self.waiting[slot].is_full() {
            self.transmit(slot);
        }
        self.waiting[slot].push(buf);
    }

    fn hand_over(&mut self, worker: usize, port: PortIndex, buf: Mbuf) {
        if !self.handover.give(worker, port, buf) {
            self.counters.drops.add(DropReason::HandoverFull, 1);
        }
    }
}

/// Octets of all packets of a burst.
pub(crate) fn octets_of(burst: &[Mbuf]) -> u64 {
    burst.iter().map(|buf| buf.len() as u64).sum()
}
