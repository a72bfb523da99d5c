//! Stage two: a frame of a segment finds its way. Learns the source, looks the destination up,
//! and delivers to one endpoint or floods.

use bridge::{AttachmentIndex, Checks, Endpoint, Flooded, Forward, Key, RemoteIndex, SegmentIndex};
use counters::DropReason;
use wire::buf::BufPool;

use crate::frame::{ADDRESSES, Body, Meta, copy_of};
use crate::tables::{Encap, Tables};
use crate::{Engine, Sink, View, egress, inspect};

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

/// What is looked at before a frame is learned and forwarded.
const INGRESS: Checks =
    Checks::EGRESS.and(Checks::STORM).and(Checks::NEIGHBOURS).and(Checks::WATCHED).and(Checks::REFLECTIONS);

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
        if meta.checks.any(INGRESS) {
            if let Err(reason) = self.inspect(view, meta, body.data()) {
                return self.refuse(view, meta, reason, body);
            }
        }
        if let Err(reason) = self.recent.learn(view, meta, keys.source, &self.notices) {
            return self.refuse(view, meta, reason, body);
        }
        self.deliver(view, sink, (meta, keys), body);
    }

    /// Sends a frame whose source is known on its way.
    #[inline]
    pub(crate) fn deliver<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        (meta, keys): (&Meta, Keys),
        mut body: Body<'_, P::Buf>,
    ) {
        // A group address is nobody's source, so that it is not in the FDB; the frame is flooded.
        let known = self.recent.lookup(view, keys.destination);
        match view.tables.segments.forward(meta.segment, meta.from.get(), known) {
            Forward::To(Endpoint::Session(session)) => {
                if meta.checks.any(Checks::EGRESS) && inspect::stays(view, meta, session, body.data()) {
                    return self.refuse(view, meta, DropReason::EgressFiltered, body);
                }
                inspect::clamp(view, meta, &mut body);
                self.pack(view, sink, session, meta, body.data(), None);
                self.recycle(body);
            }
            Forward::To(Endpoint::Attachment(attachment)) => {
                self.leave(view, sink, meta, (attachment, None), body);
            }
            Forward::To(Endpoint::Vtep(attachment, remote)) => {
                self.leave(view, sink, meta, (attachment, Some(remote)), body);
            }
            Forward::Flood => self.flood(view, sink, meta, body),
            Forward::SameEndpoint => self.refuse(view, meta, DropReason::Hairpin, body),
        }
    }

    /// Drops a frame.
    #[inline]
    fn refuse(&mut self, view: View<'_>, meta: &Meta, reason: DropReason, body: Body<'_, P::Buf>) {
        view.lost_frame(reason, meta, body.data());
        self.recycle(body);
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
            None => view.dropped_of(meta.segment, DropReason::NoBuffer),
        }
    }

    fn flood<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        meta: &Meta,
        mut body: Body<'_, P::Buf>,
    ) {
        let kind = inspect::flooded(meta);
        if kind == Flooded::UnknownUnicast {
            view.unknown_unicast(meta);
        }
        if !meta.dst.is_multicast() && meta.checks.any(Checks::BLOCK_UNKNOWN.and(Checks::STORM)) {
            if meta.checks.any(Checks::BLOCK_UNKNOWN) {
                return self.refuse(view, meta, DropReason::UnknownUnicast, body);
            }
            if !inspect::storm_allows(view, meta, Flooded::UnknownUnicast) {
                return self.refuse(view, meta, DropReason::StormLimited, body);
            }
        }
        inspect::clamp(view, meta, &mut body);
        let segments = &view.tables.segments;
        let mut reached = false;
        for session in segments.flood_sessions(meta.segment, meta.from.get()) {
            reached = true;
            if meta.checks.any(Checks::EGRESS) && inspect::stays(view, meta, session, body.data()) {
                view.lost_frame(DropReason::EgressFiltered, meta, body.data());
            } else {
                self.pack(view, sink, session, meta, body.data(), Some(kind));
            }
        }
        let mut targets = flood_targets(view.tables, meta.segment, meta.from.get()).peekable();
        if !reached && targets.peek().is_none() {
            return self.refuse(view, meta, DropReason::NoDestination, body);
        }
        self.copy_to(view, sink, meta, targets, body);
    }

    /// Sends a frame to each of `targets`.
    pub(crate) fn copy_to<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        meta: &Meta,
        targets: impl Iterator<Item = (AttachmentIndex, Option<RemoteIndex>)>,
        body: Body<'_, P::Buf>,
    ) {
        let mut targets = targets.peekable();
        if targets.peek().is_none() {
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
                None => view.dropped_of(meta.segment, DropReason::NoBuffer),
            }
        }
    }

    /// Gives a frame's buffer back.
    #[inline]
    pub(crate) fn recycle(&mut self, body: Body<'_, P::Buf>) {
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
    let attachments = tables.segments.flood_attachments(segment, from);
    attachments.flat_map(move |attachment| places(tables, attachment))
}

/// Every place that a flooded frame goes to behind one attachment.
pub(crate) fn places(
    tables: &Tables,
    attachment: AttachmentIndex,
) -> impl Iterator<Item = (AttachmentIndex, Option<RemoteIndex>)> {
    let (single, remotes) = match tables.attachment(attachment).map(|entry| &entry.encap) {
        Some(Encap::Vxlan(_, remotes)) => (None, remotes.as_slice()),
        Some(_) => (Some((attachment, None)), &[][..]),
        None => (None, &[][..]),
    };
    single.into_iter().chain(remotes.iter().map(move |remote| (attachment, Some(*remote))))
}
