//! The ports of one worker: their queues, and the packets that wait for the end of a burst.

use arrayvec::ArrayVec;
use bridge::SessionIndex;
use dpdk::Mbuf;
use pipeline::BURST;
use pipeline::tables::PortIndex;

use crate::queue::{Pace, PortChange, PortQueues};

/// All ports, by [`PortIndex`]; gaps are ports that are gone.
pub(crate) struct Ports(Vec<Option<Port>>);

/// A port, and what waits to be sent on it.
pub(crate) struct Port {
    pub(crate) queues: PortQueues,
    pub(crate) waiting: ArrayVec<Mbuf, BURST>,
    /// The records among these.
    pub(crate) records: ArrayVec<Waiting, BURST>,
}

/// A record that waits.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    /// Its place among the packets that wait.
    pub(crate) at: u16,
    pub(crate) session: SessionIndex,
    /// Frames that end in it.
    pub(crate) frames: u32,
}

impl Ports {
    /// The ports that an appliance starts with, in their order.
    pub(crate) fn new(queues: Vec<PortQueues>) -> Self {
        Self(queues.into_iter().map(|queues| Some(Port::new(queues))).collect())
    }

    /// Adds or removes a port.
    pub(crate) fn change(&mut self, change: PortChange) {
        match change {
            PortChange::Add(queues) => {
                let at = queues.port.index();
                if self.0.len() <= at {
                    self.0.resize_with(at + 1, || None);
                }
                self.0[at] = Some(Port::new(queues));
            }
            PortChange::Remove(port) => {
                if let Some(place) = self.0.get_mut(port.index()) {
                    *place = None;
                }
            }
        }
    }

    /// Places of ports, gaps included.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The queues at a place, if they are to be polled in this round.
    pub(crate) fn due(&mut self, at: usize, all: bool) -> Option<&mut PortQueues> {
        let port = self.0.get_mut(at)?.as_mut()?;
        (all || port.queues.pace == Pace::Always).then_some(&mut port.queues)
    }

    /// The queues of all ports.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &PortQueues> {
        self.0.iter().flatten().map(|port| &port.queues)
    }

    /// A port, to send on it.
    #[inline]
    pub(crate) fn sending(&mut self, port: PortIndex) -> Option<&mut Port> {
        self.0.get_mut(port.index())?.as_mut()
    }

    /// Gives all queues back.
    pub(crate) fn into_queues(self) -> Vec<PortQueues> {
        self.0.into_iter().flatten().map(|port| port.queues).collect()
    }
}

impl Port {
    /// Puts a packet behind those that wait; a record with its session and the frames that end in it.
    #[inline]
    pub(crate) fn put(&mut self, buf: Mbuf, record: Option<(SessionIndex, u32)>) {
        if let Some((session, frames)) = record {
            self.records.push(Waiting { at: self.waiting.len() as u16, session, frames });
        }
        self.waiting.push(buf);
    }

    fn new(queues: PortQueues) -> Self {
        Self { queues, waiting: ArrayVec::new(), records: ArrayVec::new() }
    }
}
