//! Stage one on a trunk port: which segment and attachment does a frame belong to, and is it fit
//! to be bridged? Strips the VLAN tags (IEEE 802.1Q 9.6) or the VXLAN encapsulation (RFC 7348 5).

use std::net::IpAddr;

use bridge::{AttachmentIndex, Endpoint, Rules, SegmentIndex};
use counters::DropReason;
use wire::buf::PacketBuf;
use wire::ethernet::{self, EtherType};
use wire::frame::parse_udp;
use wire::mac::MacBits;
use wire::vlan::{TAG_LEN, VlanId, VlanTag};
use wire::vxlan::VxlanHeader;

use crate::View;
use crate::frame::{ADDRESSES, Meta, bridgeable};
use crate::tables::{AttachmentState, PortEntry, TrunkEntry, Vtep};

/// What a trunk port's frame turns out to be.
#[derive(Debug)]
pub enum Classified<B> {
    /// A frame of a segment, without the attachment's encapsulation: from its EtherType on.
    Frame(Meta, B),
    /// A probe of a loop guard, ours or another appliance's, in the same form.
    Probe(Meta, B),
    /// Nothing for the bridge: the kernel's companion of the port may want it.
    Kernel(B),
    /// A VXLAN datagram of a VTEP that is yet to be learned.
    UnknownVtep(B, IpAddr),
    /// To be dropped.
    Drop(DropReason, B),
}

/// Finds the segment of `buf`, received on the trunk port `entry`.
#[inline(always)]
pub fn classify<B: PacketBuf>(
    view: View<'_>,
    entry: &PortEntry,
    trunk: &TrunkEntry,
    buf: B,
) -> Classified<B> {
    let Some((dst, src)) = MacBits::of_frame(buf.data()) else {
        return Classified::Drop(DropReason::Runt, buf);
    };
    let own = MacBits::from(entry.mac);
    if src == own {
        // The kernel's own packets on a shared interface, or ours coming back.
        return Classified::Drop(DropReason::OwnSource, buf);
    }
    if let Some(vtep) = &trunk.vtep {
        if dst == own || dst.is_multicast() {
            match vxlan(view, vtep, buf) {
                Ok(found) => return found,
                Err(other) => return by_tag(view, trunk, other),
            }
        }
    }
    by_tag(view, trunk, buf)
}

/// Takes `buf` as VXLAN when it is addressed to `vtep`; gives it back when it is something else.
fn vxlan<B: PacketBuf>(view: View<'_>, vtep: &Vtep, mut buf: B) -> Result<Classified<B>, B> {
    let ours = |to: IpAddr| to == vtep.local || Some(to) == vtep.group;
    let udp = match parse_udp(buf.data()) {
        Ok(Some(udp)) if udp.dst.port() == vtep.udp_port && ours(udp.dst.ip()) => udp,
        _ => return Err(buf),
    };
    let Some((header, _)) = VxlanHeader::parse(&buf.data()[udp.payload.clone()]) else {
        return Ok(Classified::Drop(DropReason::VxlanBadFlags, buf));
    };
    let Some(vni) = header.vni() else {
        return Ok(Classified::Drop(DropReason::VxlanBadFlags, buf));
    };
    let Some(&attachment) = vtep.vnis.get(&vni) else {
        return Ok(Classified::Drop(DropReason::VxlanUnknownVni, buf));
    };
    let inner = udp.payload.start + wire::vxlan::HEADER_LEN;
    if udp.payload.end < inner + ethernet::HEADER_LEN {
        return Ok(Classified::Drop(DropReason::VxlanInnerRunt, buf));
    }
    let remote = vtep.remotes.get(&udp.src.ip()).copied();
    buf.truncate(udp.payload.end);
    buf.trim_front(inner);
    Ok(match remote {
        Some(remote) => accept(view, attachment, Endpoint::Vtep(attachment, remote), Tags::default(), buf),
        None if vtep.learn => Classified::UnknownVtep(buf, udp.src.ip()),
        None => Classified::Drop(DropReason::VxlanUnknownVtep, buf),
    })
}

/// The tags that an attachment takes off a frame.
#[derive(Clone, Copy, Default)]
struct Tags {
    /// Their octets.
    octets: usize,
    /// Priority and drop eligibility of the innermost of them, in the place they have in a tag.
    priority: u16,
}

impl Tags {
    fn of(tag: &VlanTag, octets: usize) -> Self {
        Self { octets, priority: tag.priority() }
    }
}

/// Takes `buf` as tagged or untagged.
#[inline(always)]
fn by_tag<B: PacketBuf>(view: View<'_>, trunk: &TrunkEntry, buf: B) -> Classified<B> {
    let (attachment, tags) = match ethernet::outer_tag(buf.data()) {
        Some(tag) if tag.is_service() => match in_service_vlan(trunk, &tag, buf.data()) {
            Some((attachment, tags)) => (Some(attachment), tags),
            None => return Classified::Drop(DropReason::UnknownVlan, buf),
        },
        // A priority tag is no VLAN but a priority (IEEE 802.1Q 9.6).
        Some(tag) if tag.vid() == 0 => (trunk.untagged, Tags::of(&tag, TAG_LEN)),
        Some(tag) => match trunk.vlans.get(tag.vid()) {
            Some(attachment) => (Some(attachment), Tags::of(&tag, TAG_LEN)),
            None => return Classified::Drop(DropReason::UnknownVlan, buf),
        },
        None => (trunk.untagged, Tags::default()),
    };
    let Some(attachment) = attachment else {
        // Untagged frames on a port without an untagged attachment: the kernel's ARP and ND for
        // a VTEP are such frames.
        return if trunk.vtep.is_some() {
            Classified::Kernel(buf)
        } else {
            Classified::Drop(DropReason::UntaggedNotAttached, buf)
        };
    };
    accept(view, attachment, Endpoint::Attachment(attachment), tags, buf)
}

/// The attachment of a frame with the service tag `outer`: of the pair of tags if there is one, else of the service VLAN.
fn in_service_vlan(trunk: &TrunkEntry, outer: &VlanTag, frame: &[u8]) -> Option<(AttachmentIndex, Tags)> {
    let service = trunk.services.get(&VlanId::new(outer.vid())?)?;
    let inner = ethernet::tag_at(frame, ADDRESSES + TAG_LEN).filter(|tag| !tag.is_service());
    let of_pair = inner.and_then(|tag| Some((service.vlans.get(tag.vid())?, Tags::of(&tag, 2 * TAG_LEN))));
    of_pair.or_else(|| Some((service.rest?, Tags::of(outer, TAG_LEN))))
}

/// Takes the addresses off, and the tags behind them.
#[inline(always)]
fn accept<B: PacketBuf>(
    view: View<'_>,
    attachment: AttachmentIndex,
    from: Endpoint,
    tags: Tags,
    mut buf: B,
) -> Classified<B> {
    let Some(entry) = view.tables.attachment(attachment) else {
        return Classified::Drop(DropReason::NoDestination, buf);
    };
    let segment = entry.segment;
    let Some(Rules { mtu, checks }) = view.tables.segments.rules(segment) else {
        return Classified::Drop(DropReason::NoDestination, buf);
    };
    if buf.len() < ethernet::HEADER_LEN + tags.octets {
        return Classified::Drop(DropReason::Runt, buf);
    }
    let Some((dst, src)) = MacBits::of_frame(buf.data()) else {
        return Classified::Drop(DropReason::Runt, buf);
    };
    let meta = Meta { segment, from: from.into(), dst, src, checks };
    let payload = buf.len() - ethernet::HEADER_LEN - tags.octets;
    if let Err(reason) = bridgeable(dst, src, payload, mtu) {
        return refused(view, segment, reason, buf);
    }
    let probe = dst.is_loop_probe();
    match entry.state {
        _ if probe => {}
        AttachmentState::Forwarding => {}
        AttachmentState::Listening => return refused(view, segment, DropReason::LoopListening, buf),
        AttachmentState::Blocked => return refused(view, segment, DropReason::LoopBlocked, buf),
    }
    if tags.priority == 0 {
        buf.trim_front(ADDRESSES + tags.octets);
    } else {
        // The priority goes on in a priority tag of its own (protocol 4.2).
        buf.trim_front(ADDRESSES + tags.octets - TAG_LEN);
        let tag = u32::from(EtherType::VLAN.get()) << 16 | u32::from(tags.priority);
        buf.data_mut()[..TAG_LEN].copy_from_slice(&tag.to_be_bytes());
    }
    if probe { Classified::Probe(meta, buf) } else { Classified::Frame(meta, buf) }
}

/// A frame whose segment is known goes no further.
#[cold]
fn refused<B>(view: View<'_>, segment: SegmentIndex, reason: DropReason, buf: B) -> Classified<B> {
    view.dropped_in(segment, reason);
    Classified::Drop(reason, buf)
}
