//! What a segment's policy wants looked at beside forwarding. Nothing here runs for a frame whose segment asks for none of it.

use arrayvec::ArrayVec;
use bridge::{AttachmentIndex, Checks, Endpoint, Flooded, Neighbours, Policy, SessionIndex};
use counters::DropReason;
use wire::arp::ArpPacket;
use wire::buf::{BufPool, PacketBuf};
use wire::ethernet::EtherType;
use wire::inner::inner;
use wire::nd::{Message, NdPacket};

use crate::frame::{Body, Meta};
use crate::mss::{self, Clamped};
use crate::notice::{MAX_NOTICE, Notice, Seen};
use crate::{Engine, View};

impl<P: BufPool> Engine<P> {
    /// Looks at a frame that enters its segment. An error says why it goes no further.
    #[cold]
    pub(crate) fn inspect(&mut self, view: View<'_>, meta: &Meta, rest: &[u8]) -> Result<(), DropReason> {
        if meta.checks.any(Checks::WATCHED) {
            if let Some(taps) = view.taps() {
                taps.entered(view.now.0, meta.segment, meta.from.get(), [&meta.addresses(), rest]);
            }
            if policy(view, meta).is_some_and(|policy| policy.own == Some(meta.dst)) {
                self.show(view, meta, rest, false);
                return Err(DropReason::OwnDestination);
            }
        }
        if meta.checks.any(Checks::REFLECTIONS) && comes_back(view, meta, rest) {
            return Err(DropReason::Reflected);
        }
        if let Endpoint::Session(session) = meta.from.get() {
            if meta.checks.any(Checks::EGRESS) && stays(view, meta, session, rest) {
                return Err(DropReason::EgressFiltered);
            }
        }
        if meta.dst.is_multicast() && !storm_allows(view, meta, flooded(meta)) {
            return Err(DropReason::StormLimited);
        }
        if meta.checks.any(Checks::NEIGHBOURS) && self.held_back(view, meta, rest) {
            return Err(DropReason::NeighbourHeld);
        }
        Ok(())
    }

    /// Shows ARP and neighbour discovery to the control thread. True: the frame is its to answer or to pass on.
    fn held_back(&mut self, view: View<'_>, meta: &Meta, rest: &[u8]) -> bool {
        let Some(asks) = asks_everybody(meta, rest) else { return false };
        let held = policy(view, meta).is_some_and(|policy| {
            let wanted = asks || meta.dst == policy.asks_as;
            // What the control thread would see only a part of, it could not pass on.
            policy.neighbours == Neighbours::Answered && wanted && rest.len() <= MAX_NOTICE
        });
        // What cannot be told goes on as if nobody looked: suppression saves traffic, it is nothing to rely on.
        self.show(view, meta, rest, !held) && held
    }

    /// Gives a copy of a frame to the control thread. False: it has no time.
    pub(crate) fn show(&mut self, view: View<'_>, meta: &Meta, rest: &[u8], forwarded: bool) -> bool {
        let seen = Seen {
            segment: meta.segment,
            from: meta.from.get(),
            dst: meta.dst.into(),
            src: meta.src.into(),
            rest: rest.iter().copied().take(MAX_NOTICE).collect::<ArrayVec<_, _>>(),
            forwarded,
        };
        let told = self.notices.try_send(Notice::Frame(seen)).is_ok();
        if !told {
            view.dropped(DropReason::NoticeQueueFull);
        }
        told
    }
}

/// What a frame is that is flooded.
pub(crate) fn flooded(meta: &Meta) -> Flooded {
    if meta.dst.is_broadcast() {
        Flooded::Broadcast
    } else if meta.dst.is_multicast() {
        Flooded::Multicast
    } else {
        Flooded::UnknownUnicast
    }
}

/// Whether a frame is ARP or neighbour discovery, and if so whether it asks everybody where somebody is.
fn asks_everybody(meta: &Meta, rest: &[u8]) -> Option<bool> {
    let found = inner(rest)?;
    let packet = rest.get(found.start..)?;
    match found.ethertype {
        EtherType::ARP => {
            let arp = ArpPacket::parse(packet)?;
            // Announcements, and tests for duplicates (RFC 5227), concern everybody.
            let asks = arp.operation.get() == ArpPacket::REQUEST
                && arp.sender() != arp.target()
                && !arp.sender().is_unspecified();
            Some(asks && meta.dst.is_multicast())
        }
        EtherType::IPV6 => {
            let nd = NdPacket::parse(packet)?;
            // Without a source it is a test for duplicates, which the owner has to hear (RFC 4862 5.4).
            let asks = matches!(nd.message, Message::Solicitation { .. }) && !nd.source.is_unspecified();
            Some(asks && meta.dst.is_multicast())
        }
        _ => None,
    }
}

fn policy<'a>(view: View<'a>, meta: &Meta) -> Option<&'a Policy> {
    view.tables.segments.get(meta.segment).map(|segment| &segment.policy)
}

/// Whether a frame has just left by the attachment that it comes in by.
fn comes_back(view: View<'_>, meta: &Meta, rest: &[u8]) -> bool {
    let (Endpoint::Attachment(at) | Endpoint::Vtep(at, _)) = meta.from.get() else { return false };
    let reflections = policy(view, meta).and_then(|policy| policy.reflections.as_ref());
    reflections.is_some_and(|left| left.is_one(at, meta.dst, meta.src, rest, view.now.0))
}

/// Notes a frame that leaves by an attachment, where such frames come back.
#[cold]
pub(crate) fn leaves(view: View<'_>, meta: &Meta, at: AttachmentIndex, rest: &[u8]) {
    if view.dry {
        return;
    }
    if let Some(reflections) = policy(view, meta).and_then(|policy| policy.reflections.as_ref()) {
        reflections.left(at, meta.dst, meta.src, rest, view.now.0);
    }
}

/// Whether the egress filter keeps a frame from crossing a session.
#[cold]
pub(crate) fn stays(view: View<'_>, meta: &Meta, session: SessionIndex, rest: &[u8]) -> bool {
    let filter = policy(view, meta).and_then(|policy| policy.egress.as_ref());
    filter.is_some_and(|filter| filter.stops(session, meta.dst, meta.src, rest))
}

/// Whether storm control lets a frame that is to be flooded pass.
#[cold]
pub(crate) fn storm_allows(view: View<'_>, meta: &Meta, kind: Flooded) -> bool {
    let Some(control) = policy(view, meta).and_then(|policy| policy.storm.as_ref()) else { return true };
    if view.dry {
        return control.would_allow(meta.from, kind, view.now.0);
    }
    let allowed = control.allows(meta.from, kind, view.now.0);
    if let (false, Endpoint::Session(session)) = (allowed, meta.from.get()) {
        if let Some(counters) = view.counters.sessions.get(usize::from(session.0)) {
            counters.rx_storm_limited.add(1);
        }
    }
    allowed
}

/// Clamps the maximum segment size of a handshake that enters the tunnel here. A frame that comes through a session was looked at by the
/// other end.
#[inline]
pub(crate) fn clamp<B: PacketBuf>(view: View<'_>, meta: &Meta, body: &mut Body<'_, B>) {
    if !meta.checks.any(Checks::CLAMP) {
        return;
    }
    let Body::Own(buf) = body else { return };
    if meta.from.is_session() {
        return;
    }
    let Some(segment) = view.tables.segments.get(meta.segment) else { return };
    let clamped = mss::clamp(buf.data_mut(), segment.policy.clamp);
    if let (Some(clamped), Some(counters)) =
        (clamped, view.counters.segments.get(usize::from(meta.segment.0)))
    {
        match clamped {
            Clamped::Adjusted => counters.mss.adjusted.add(1),
            Clamped::Ignored => counters.mss.ignored.add(1),
        }
    }
}
