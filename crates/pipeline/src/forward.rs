//! Stage two: a frame of a segment finds its way. Learns the source, looks the destination up,
//! and delivers to one endpoint or floods.

use bridge::{AttachmentIndex, Endpoint, Fdb, Forward, Learned, RemoteIndex, SegmentIndex};
use counters::DropReason;
use wire::buf::{BufPool, PacketBuf};
use wire::mac::MacAddr;

use crate::tables::{Encap, Tables};
use crate::{Engine, Sink, View, egress};

/// A frame inside its segment: no VLAN tag or VXLAN header of the attachment, no block header.
#[derive(Debug)]
pub struct Arrived<B> {
    /// The frame, from its destination address on.
    pub buf: B,
    /// Its segment.
    pub segment: SegmentIndex,
    /// Where it came from.
    pub from: Endpoint,
    /// Its destination address.
    pub dst: MacAddr,
    /// Its source address.
    pub src: MacAddr,
}

impl<B> Arrived<B> {
    /// Starts the cache misses of the look-ups that will follow.
    pub(crate) fn touch(&self, fdb: &Fdb) {
        fdb.touch(self.segment, self.dst);
        fdb.touch(self.segment, self.src);
    }
}

impl<P: BufPool> Engine<P> {
    /// Learns and forwards one frame.
    pub(crate) fn forward<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S, frame: Arrived<P::Buf>) {
        count_in(view, &frame);
        if let Learned::Full = view.fdb.learn(frame.segment, frame.src, frame.from, view.now.seconds()) {
            // The frame itself is forwarded: a full table makes for flooding, not for loss.
            view.counters.drops.add(DropReason::MacLimit, 1);
        }
        match view.tables.segments.forward(frame.segment, frame.from, frame.dst, view.fdb) {
            Forward::To(to) => self.deliver(view, sink, to, frame),
            Forward::Flood => self.flood(view, sink, frame),
            Forward::SameEndpoint => view.dropped(DropReason::Hairpin),
        }
    }

    fn deliver<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        to: Endpoint,
        frame: Arrived<P::Buf>,
    ) {
        match to {
            Endpoint::Session(session) => {
                self.pack(view, sink, session, frame.segment, frame.buf.data(), false)
            }
            Endpoint::Attachment(attachment) => {
                egress::send(view, sink, frame.segment, (attachment, None), frame.buf)
            }
            Endpoint::Vtep(attachment, remote) => {
                egress::send(view, sink, frame.segment, (attachment, Some(remote)), frame.buf)
            }
        }
    }

    fn flood<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S, frame: Arrived<P::Buf>) {
        let Arrived { buf, segment, from, .. } = frame;
        let segments = &view.tables.segments;
        let mut reached = false;
        for session in segments.flood_sessions(segment, from) {
            reached = true;
            self.pack(view, sink, session, segment, buf.data(), true);
        }
        let mut targets = flood_targets(view.tables, segment, from).peekable();
        if targets.peek().is_none() {
            if !reached {
                view.dropped(DropReason::NoDestination);
            }
            return;
        }
        // Every target but the last gets a copy, the last the frame itself.
        let mut original = Some(buf);
        while let Some((attachment, remote)) = targets.next() {
            let copy = match (targets.peek(), &original) {
                (Some(_), Some(buf)) => copy_of(&mut self.pool, buf.data()),
                _ => original.take(),
            };
            match copy {
                Some(copy) => egress::send(view, sink, segment, (attachment, remote), copy),
                None => view.dropped(DropReason::NoBuffer),
            }
        }
    }
}

/// A new buffer that holds `bytes`.
pub(crate) fn copy_of<P: BufPool>(pool: &mut P, bytes: &[u8]) -> Option<P::Buf> {
    let mut copy = pool.alloc()?;
    copy.append(bytes.len())?.copy_from_slice(bytes);
    Some(copy)
}

/// Every place on a local port that a flooded frame goes to; several for a VXLAN attachment with
/// several remote VTEPs. Between VTEPs of one attachment the underlay forwards, not we (RFC 7348 4.1).
fn flood_targets(
    tables: &Tables,
    segment: SegmentIndex,
    from: Endpoint,
) -> impl Iterator<Item = (AttachmentIndex, Option<RemoteIndex>)> {
    tables.segments.flood_attachments(segment, from).flat_map(move |attachment| {
        let remotes: &[RemoteIndex] = match tables.attachment(attachment).map(|entry| &entry.encap) {
            Some(Encap::Vxlan(_, remotes)) => remotes,
            _ => &[],
        };
        let is_vxlan =
            matches!(tables.attachment(attachment).map(|entry| &entry.encap), Some(Encap::Vxlan(..)));
        let single = (!is_vxlan).then_some((attachment, None));
        single.into_iter().chain(remotes.iter().map(move |remote| (attachment, Some(*remote))))
    })
}

fn count_in<B: PacketBuf>(view: View<'_>, frame: &Arrived<B>) {
    let Some(counters) = view.counters.segments.get(usize::from(frame.segment.0)) else {
        return;
    };
    let side = match frame.from {
        Endpoint::Session(_) => &counters.from_tunnel,
        Endpoint::Attachment(_) | Endpoint::Vtep(..) => &counters.from_lan,
    };
    side.frames.add(1);
    side.octets.add(frame.buf.len() as u64);
    if frame.dst.is_multicast() {
        side.bum.add(1);
    }
}
