//! Counts runs of frames and adds them to the counters once a run: frames of one burst mostly enter one segment from one side.

use bridge::SegmentIndex;

use crate::View;
use crate::frame::Meta;

/// The run that is being counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Segment, and whether the frames came through a session.
    of: Option<(SegmentIndex, bool)>,
    frames: u64,
    octets: u64,
    bum: u64,
    broadcast: u64,
    /// What was sent of them into sessions.
    sent_frames: u64,
    sent_octets: u64,
}

impl Tally {
    /// Counts one frame of so many octets.
    #[inline]
    pub(crate) fn count(&mut self, view: View<'_>, meta: &Meta, octets: usize) {
        let of = Some((meta.segment, meta.from.is_session()));
        if self.of != of {
            self.settle(view);
            self.of = of;
        }
        self.frames += 1;
        self.octets += octets as u64;
        if meta.dst.is_multicast() {
            self.bum += 1;
            self.broadcast += u64::from(meta.dst.is_broadcast());
        }
    }

    /// Counts one frame of so many octets that was sent into a session.
    #[inline]
    pub(crate) fn sent(&mut self, view: View<'_>, meta: &Meta, octets: usize) {
        // The frame was counted a moment ago, but for those of the control thread.
        if self.of.is_none_or(|(segment, _)| segment != meta.segment) {
            self.settle(view);
            self.of = Some((meta.segment, meta.from.is_session()));
        }
        self.sent_frames += 1;
        self.sent_octets += octets as u64;
    }

    /// Ends the run.
    pub(crate) fn settle(&mut self, view: View<'_>) {
        let Self { of, frames, octets, bum, broadcast, sent_frames, sent_octets } = std::mem::take(self);
        let Some((segment, from_tunnel)) = of else { return };
        let Some(counters) = view.counters.segments.get(usize::from(segment.0)) else { return };
        let side = if from_tunnel { &counters.from_tunnel } else { &counters.from_lan };
        side.frames.add(frames);
        side.octets.add(octets);
        if bum > 0 {
            side.bum.add(bum);
            side.broadcast.add(broadcast);
        }
        if sent_frames > 0 {
            counters.to_tunnel.frames.add(sent_frames);
            counters.to_tunnel.octets.add(sent_octets);
        }
    }
}
