//! The way out: collects the packets of a burst by port and sends them together.

use bridge::SessionIndex;
use counters::{CoreCounters, DropReason};
use dpdk::Mbuf;
use pipeline::tables::{PortIndex, PortRole};
use pipeline::{Sink, View};
use wire::buf::PacketBuf;

use crate::ports::{Port, Ports, Waiting};
use crate::{Fallback, Handover};

/// Packets that wait for the end of a burst, by port.
pub(crate) struct PortSink<'a> {
    ports: &'a mut Ports,
    view: View<'a>,
    counters: &'a CoreCounters,
    handover: &'a Handover,
    fallback: &'a Fallback,
}

impl<'a> PortSink<'a> {
    pub(crate) fn new(
        ports: &'a mut Ports,
        view: View<'a>,
        handover: &'a Handover,
        fallback: &'a Fallback,
    ) -> Self {
        Self { ports, view, counters: view.counters, handover, fallback }
    }

    /// Sends everything that waits.
    pub(crate) fn flush(&mut self) {
        for slot in 0..self.ports.len() {
            self.transmit(PortIndex(slot as u8));
        }
        self.fallback.sent();
    }

    /// Gives a port all its packets. What it does not take is dropped: a stalled port must not
    /// stall the others.
    fn transmit(&mut self, port: PortIndex) {
        let Some(Port { queues, waiting, records }) = self.ports.sending(port) else { return };
        if waiting.is_empty() {
            return;
        }
        if self.view.tables.taps.is_some() {
            capture(self.view, port, true, waiting);
        }
        let (count, octets) = (waiting.len(), octets_of(waiting));
        let sent = queues.send(waiting);
        if let Some(counters) = self.counters.ports.get(port.index()) {
            counters.tx_frames.add(sent as u64);
            // All octets, or of those that were taken their share.
            counters.tx_octets.add(octets * sent as u64 / count as u64);
        }
        if sent < count {
            self.counters.drops.add(DropReason::TxQueueFull, (count - sent) as u64);
            lost(self.counters, records, sent);
        }
        records.clear();
    }

    #[inline]
    fn put(&mut self, port: PortIndex, buf: Mbuf, record: Option<(SessionIndex, u32)>) {
        match self.ports.sending(port) {
            Some(to) if to.waiting.is_full() => {}
            Some(to) => return to.put(buf, record),
            // Of a table that is a moment older than the ports.
            None => return self.counters.drops.add(DropReason::NoDestination, 1),
        }
        self.transmit(port);
        if let Some(to) = self.ports.sending(port) {
            to.put(buf, record);
        }
    }
}

impl Sink<Mbuf> for PortSink<'_> {
    fn send(&mut self, port: PortIndex, buf: Mbuf) {
        self.put(port, buf, None);
    }

    #[inline]
    fn send_record(&mut self, port: PortIndex, buf: Mbuf, session: SessionIndex, frames: u32) {
        self.put(port, buf, Some((session, frames)));
    }

    fn hand_over(&mut self, worker: usize, port: PortIndex, buf: Mbuf) {
        if !self.handover.give(worker, port, buf) {
            self.counters.drops.add(DropReason::HandoverFull, 1);
        }
    }

    fn over_tcp(&mut self, session: SessionIndex, buf: Mbuf) {
        if !self.fallback.send(session, buf) {
            self.counters.drops.add(DropReason::FallbackFull, 1);
        }
    }
}

/// Counts the frames of records that a port did not take for their sessions: of those behind the packets that it took.
#[cold]
fn lost(counters: &CoreCounters, records: &[Waiting], sent: usize) {
    for record in records.iter().filter(|record| usize::from(record.at) >= sent) {
        if let Some(session) = counters.sessions.get(usize::from(record.session.0)) {
            session.tx_dropped.add(record.frames.into());
        }
    }
}

/// Octets of all packets of a burst.
pub(crate) fn octets_of(burst: &[Mbuf]) -> u64 {
    burst.iter().map(|buf| buf.len() as u64).sum()
}

/// Shows a burst of a port to those who capture it.
#[cold]
pub(crate) fn capture(view: View<'_>, port: PortIndex, outbound: bool, burst: &[Mbuf]) {
    let Some((taps, entry)) = view.tables.taps.as_ref().zip(view.tables.ports.get(port.index())) else {
        return;
    };
    let trunk = matches!(entry.role, PortRole::Trunk(_));
    taps.on_port(view.now.0, port, (trunk, outbound), burst.iter().map(|buf| buf.data()));
}
