//! A frame is dropped: it is counted, the last ones are kept for a look at their headers, and captures of drops get a copy.

use bridge::{Endpoint, SessionIndex};
use counters::{DropReason, Origin};

use crate::View;
use crate::capture::Place;
use crate::frame::Meta;

impl Meta {
    /// Where the frame came from, for a capture.
    pub(crate) fn place(&self) -> Place {
        Place::at(Some(self.segment), self.from.get(), false)
    }
}

impl View<'_> {
    /// Counts a packet that is dropped, given in two pieces.
    #[inline]
    pub(crate) fn lost(&self, reason: DropReason, place: Place, packet: [&[u8]; 2]) {
        self.dropped(reason);
        if self.counters.samples.due(reason, self.now.0) || self.taps().is_some() {
            self.remember(reason, place, packet);
        }
    }

    /// Counts a frame that is dropped, given from its EtherType on, for its segment as well, and for the session that it came from. One
    /// that is only out of the workers' hands is counted by its reason, and nothing else.
    #[inline]
    pub(crate) fn lost_frame(&self, reason: DropReason, meta: &Meta, rest: &[u8]) {
        if !reason.is_loss() {
            return self.dropped_of(meta.segment, reason);
        }
        self.dropped_in(meta.segment, reason);
        if let Endpoint::Session(session) = meta.from.get() {
            self.dropped_from(session);
        }
        self.lost(reason, meta.place(), [&meta.addresses(), rest]);
    }

    /// Counts a frame of a session that goes no further.
    pub(crate) fn dropped_from(&self, session: SessionIndex) {
        if let Some(counters) = self.counters.sessions.get(usize::from(session.0)) {
            counters.rx_dropped.add(1);
        }
    }

    /// Counts a frame that is flooded for want of a better idea.
    pub(crate) fn unknown_unicast(&self, meta: &Meta) {
        let Some(counters) = self.counters.segments.get(usize::from(meta.segment.0)) else { return };
        if let Endpoint::Session(session) = meta.from.get() {
            counters.from_tunnel.unknown_unicast.add(1);
            if let Some(counters) = self.counters.sessions.get(usize::from(session.0)) {
                counters.rx_unknown_unicast.add(1);
            }
        } else {
            counters.from_lan.unknown_unicast.add(1);
        }
    }

    #[cold]
    fn remember(&self, reason: DropReason, place: Place, packet: [&[u8]; 2]) {
        let (now, samples) = (self.now.0, &self.counters.samples);
        if samples.due(reason, now) {
            let origin = Origin {
                port: place.port.map(|port| port.0),
                segment: place.segment.map(|segment| segment.0),
                endpoint: place.endpoint.map(Endpoint::pack),
            };
            samples.keep(reason, now, origin, packet);
        }
        if let Some(taps) = self.taps() {
            taps.dropped(now, reason, place, packet);
        }
    }
}
