//! Stage two: a frame of a segment finds its way. Learns the source, looks the destination up,
//! and delivers to one endpoint or floods.

use bridge::{AttachmentIndex, Endpoint, Forward, Key, RemoteIndex, SegmentIndex};
use counters::DropReason;
use wire::buf::BufPool;

use crate::frame::{ADDRESSES, Body, Meta, copy_of};
use crate::tables::{Encap, Tables};
use crate::{Engine, Sink, View, egress};

/// The FDB's keys of a frame's addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    source: Key,
    destination: Key,
}

impl Keys {
    /// Computes the keys and starts the cache misses of the look-ups that will follow.
    #[inline]
    pub(crate) fn touch(view: View<'_>, meta: &Meta) -> Self {
        let source = view.fdb.key(meta.segment, meta.src);
        let destination = view.fdb.key(meta.segment, meta.dst);
        view.fdb.touch(source);
        view.fdb.touch(destination);
        Self { source, destination }
    }
}

impl<P: BufPool> Engine<P> {
    /// Learns and forwards one frame.
    #[inline]
    pub(crate) fn forward<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        (meta, keys): (&Meta, Keys),
        body: Body<'_, P::Buf>,
    ) {
        self.tally.count(view, meta, ADDRESSES + body.data().len());
        self.recent.learn(view, keys.source, meta.from);
        // A group address is nobody's source, so that it is not in the FDB; the frame is flooded.
        let known = self.recent.lookup(view, keys.destination);
        match view.tables.segments.forward(meta.segment, meta.from.get(), known) {
            Forward::To(Endpoint::Session(session)) => {
                self.pack(view, sink, session, meta, body.data(), false);
                self.recycle(body);
            }
            Forward::To(Endpoint::Attachment(attachment)) => {
                self.leave(view, sink, meta, (attachment, None), body);
            }
            Forward::To(Endpoint::Vtep(attachment, remote)) => {
                self.leave(view, sink, meta, (attachment, Some(remote)), body);
            }
            Forward::Flood => self.flood(view, sink, meta, body),
            Forward::SameEndpoint => {
                view.dropped(DropReason::Hairpin);
                self.recycle(body);
            }
        }
    }

    /// Sends a frame out of a local attachment.
    #[inline]
    fn leave<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        meta: &Meta,
        to: (AttachmentIndex, Option<RemoteIndex>),
        body: Body<'_, P::Buf>,
    ) {
        match body.into_buf(&mut self.pool) {
            Some(buf) => egress::send(view, sink, meta, to, buf),
            None => view.dropped(DropReason::NoBuffer),
        }
    }

    fn flood<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S, meta: &Meta, body: Body<'_, P::Buf>) {
        let segments = &view.tables.segments;
        let mut reached = false;
        for session in segments.flood_sessions(meta.segment, meta.from.get()) {
            reached = true;
            self.pack(view, sink, session, meta, body.data(), true);
        }
        let mut targets = flood_targets(view.tables, meta.segment, meta.from.get()).peekable();
        if targets.peek().is_none() {
            if !reached {
                view.dropped(DropReason::NoDestination);
            }
            return self.recycle(body);
        }
        // Every target but the last gets a copy, the last the frame itself.
        let mut original = Some(body);
        while let Some(target) = targets.next() {
            let copy = match (targets.peek(), &original) {
                (Some(_), Some(body)) => copy_of(&mut self.pool, body.data()),
                _ => original.take().and_then(|body| body.into_buf(&mut self.pool)),
            };
            match copy {
                Some(copy) => egress::send(view, sink, meta, target, copy),
                None => view.dropped(DropReason::NoBuffer),
            }
        }
    }

    /// Gives a frame's buffer back.
    #[inline]
    fn recycle(&mut self, body: Body<'_, P::Buf>) {
        if let Body::Own(buf) = body {
            self.pool.recycle(buf);
        }
    }
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
