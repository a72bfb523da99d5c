//! Stage one on a trunk port: which segment and attachment does a frame belong to, and is it fit
//! to be bridged? Strips the VLAN tag (IEEE 802.1Q 9.6) or the VXLAN encapsulation (RFC 7348 5).

use std::net::IpAddr;

use bridge::{AttachmentIndex, Endpoint, SegmentIndex};
use counters::DropReason;
use wire::buf::PacketBuf;
use wire::ethernet;
use wire::frame::parse_udp;
use wire::mac::MacAddr;
use wire::vxlan::VxlanHeader;

use crate::View;
use crate::forward::Arrived;
use crate::tables::{PortEntry, TrunkEntry, Vtep};

/// What a trunk port's frame turns out to be.
#[derive(Debug)]
pub enum Classified<B> {
    /// A frame of a segment, without the attachment's encapsulation.
    Frame(Arrived<B>),
    /// Nothing for the bridge: the kernel's companion of the port may want it.
    Kernel(B),
    /// A VXLAN datagram of a VTEP that is yet to be learned.
    UnknownVtep(B, IpAddr),
    /// To be dropped.
    Drop(DropReason),
}

/// Finds the segment of `buf`, received on the trunk port `entry`.
pub fn classify<B: PacketBuf>(
    view: View<'_>,
    entry: &PortEntry,
    trunk: &TrunkEntry,
    buf: B,
) -> Classified<B> {
    let Some((dst, src)) = ethernet::addresses(buf.data()) else {
        return Classified::Drop(DropReason::Runt);
    };
    if src == entry.mac {
        // The kernel's own packets on a shared interface, or ours coming back.
        return Classified::Drop(DropReason::OwnSource);
    }
    if let Some(vtep) = &trunk.vtep {
        if dst == entry.mac || dst.is_multicast() {
            match vxlan(view, vtep, buf) {
                Ok(found) => return found,
                Err(other) => return by_tag(view, trunk, other),
            }
        }
    }
    by_tag(view, trunk, buf)
}

/// Checks that hold for every frame that enters a segment, from whichever side.
pub(crate) fn bridgeable(frame: &[u8], mtu: u16) -> Result<(MacAddr, MacAddr), DropReason> {
    let (dst, src) = ethernet::addresses(frame).ok_or(DropReason::Runt)?;
    if src.is_multicast() {
        return Err(DropReason::SourceMulticast);
    }
    if src.is_zero() {
        return Err(DropReason::SourceZero);
    }
    if dst.is_link_reserved() {
        return Err(DropReason::ReservedMac);
    }
    if frame.len() > usize::from(mtu) + ethernet::HEADER_LEN {
        return Err(DropReason::Oversize);
    }
    Ok((dst, src))
}

/// Takes `buf` as VXLAN when it is addressed to `vtep`; gives it back when it is something else.
fn vxlan<B: PacketBuf>(view: View<'_>, vtep: &Vtep, mut buf: B) -> Result<Classified<B>, B> {
    let udp = match parse_udp(buf.data()) {
        Ok(Some(udp)) if udp.dst.port() == vtep.udp_port && udp.dst.ip() == vtep.local => udp,
        _ => return Err(buf),
    };
    let Some((header, _)) = VxlanHeader::parse(&buf.data()[udp.payload.clone()]) else {
        return Ok(Classified::Drop(DropReason::VxlanBadFlags));
    };
    let Some(vni) = header.vni() else {
        return Ok(Classified::Drop(DropReason::VxlanBadFlags));
    };
    let Some(&attachment) = vtep.vnis.get(&vni) else {
        return Ok(Classified::Drop(DropReason::VxlanUnknownVni));
    };
    let inner = udp.payload.start + wire::vxlan::HEADER_LEN;
    if udp.payload.end < inner + ethernet::HEADER_LEN {
        return Ok(Classified::Drop(DropReason::VxlanInnerRunt));
    }
    let remote = vtep.remotes.get(&udp.src.ip()).copied();
    buf.truncate(udp.payload.end);
    buf.trim_front(inner);
    Ok(match remote {
        Some(remote) => accept(view, attachment, Endpoint::Vtep(attachment, remote), buf),
        None if vtep.learn => Classified::UnknownVtep(buf, udp.src.ip()),
        None => Classified::Drop(DropReason::VxlanUnknownVtep),
    })
}

/// Takes `buf` as tagged or untagged.
fn by_tag<B: PacketBuf>(view: View<'_>, trunk: &TrunkEntry, mut buf: B) -> Classified<B> {
    let (attachment, tagged) = match ethernet::outer_vlan(buf.data()) {
        Some(0) => (trunk.untagged, true), // priority tag: IEEE 802.1Q 9.6, no VLAN but a priority
        Some(vid) => match trunk.vlans.get(vid) {
            Some(attachment) => (Some(attachment), true),
            None => return Classified::Drop(DropReason::UnknownVlan),
        },
        None => (trunk.untagged, false),
    };
    let Some(attachment) = attachment else {
        // Untagged frames on a port without an untagged attachment: the kernel's ARP and ND for
        // a VTEP are such frames.
        return if trunk.vtep.is_some() {
            Classified::Kernel(buf)
        } else {
            Classified::Drop(DropReason::UntaggedNotAttached)
        };
    };
    if tagged {
        if buf.len() < ethernet::HEADER_LEN + wire::vlan::TAG_LEN {
            return Classified::Drop(DropReason::Runt);
        }
        buf.data_mut().copy_within(..2 * MacAddr::LEN, wire::vlan::TAG_LEN);
        buf.trim_front(wire::vlan::TAG_LEN);
    }
    accept(view, attachment, Endpoint::Attachment(attachment), buf)
}

fn accept<B: PacketBuf>(
    view: View<'_>,
    attachment: AttachmentIndex,
    from: Endpoint,
    buf: B,
) -> Classified<B> {
    let Some(entry) = view.tables.attachment(attachment) else {
        return Classified::Drop(DropReason::NoDestination);
    };
    let segment: SegmentIndex = entry.segment;
    let Some(mtu) = view.tables.segments.get(segment).map(|segment| segment.mtu) else {
        return Classified::Drop(DropReason::NoDestination);
    };
    match bridgeable(buf.data(), mtu) {
        Ok((dst, src)) => Classified::Frame(Arrived { buf, segment, from, dst, src }),
        Err(reason) => Classified::Drop(reason),
    }
}
