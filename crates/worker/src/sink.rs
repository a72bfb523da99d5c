//! The way out: collects the packets of a burst by port and sends them together.

use arrayvec::ArrayVec;
use counters::{CoreCounters, DropReason};
use dpdk::Mbuf;
use pipeline::tables::PortIndex;
use pipeline::{BURST, Sink};

use crate::PortQueues;

/// Packets that wait for the end of a burst, by port.
pub(crate) struct PortSink<'a> {
    queues: &'a mut [PortQueues],
    waiting: &'a mut [ArrayVec<Mbuf, BURST>],
    counters: &'a CoreCounters,
}

impl<'a> PortSink<'a> {
    /// `waiting` has one place for each of `queues`.
    pub(crate) fn new(
        queues: &'a mut [PortQueues],
        waiting: &'a mut [ArrayVec<Mbuf, BURST>],
        counters: &'a CoreCounters,
    ) -> Self {
        Self { queues, waiting, counters }
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
        let PortQueues { port, tx, .. } = &mut self.queues[slot];
        let waiting = &mut self.waiting[slot];
        let octets: u64 = waiting.iter().map(|buf| wire::buf::PacketBuf::len(buf) as u64).sum();
        let sent = tx.burst(waiting);
        let left: u64 = waiting.iter().map(|buf| wire::buf::PacketBuf::len(buf) as u64).sum();
        if let Some(counters) = self.counters.ports.get(port.index()) {
            counters.tx_frames.add(sent as u64);
            counters.tx_octets.add(octets - left);
        }
        if !waiting.is_empty() {
            self.counters.drops.add(DropReason::TxQueueFull, waiting.len() as u64);
            dpdk::free_burst(waiting);
        }
    }
}

impl Sink<Mbuf> for PortSink<'_> {
    fn send(&mut self, port: PortIndex, buf: Mbuf) {
        let Some(slot) = self.queues.iter().position(|queues| queues.port == port) else {
            self.counters.drops.add(DropReason::NoDestination, 1);
            return;
        };
        if self.waiting[slot].is_full() {
            self.transmit(slot);
        }
        self.waiting[slot].push(buf);
    }
}
