//! Stage one on a trunk port: which segment and attachment does a frame belong to, and is it fit
//! to be bridged? Strips the VLAN tag (IEEE 802.1Q 9.6) or the VXLAN encapsulation (RFC 7348 5).

use std::net::IpAddr;

use bridge::{AttachmentIndex, Endpoint};
use counters::DropReason;
use wire::buf::PacketBuf;
use wire::ethernet;
use wire::frame::parse_udp;
use wire::mac::MacBits;
use wire::vxlan::VxlanHeader;

use crate::View;
use crate::frame::{ADDRESSES, Meta, bridgeable};
use crate::tables::{PortEntry, TrunkEntry, Vtep};

/// What a trunk port's frame turns out to be.
#[derive(Debug)]
pub enum Classified<B> {
    /// A frame of a segment, without the attachment's encapsulation: from its EtherType on.
    Frame(Meta, B),
    /// Nothing for the bridge: the kernel's companion of the port may want it.
    Kernel(B),
    /// A VXLAN datagram of a VTEP that is yet to be learned.
    UnknownVtep(B, IpAddr),
    /// To be dropped.
    Drop(DropReason),
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
        return Classified::Drop(DropReason::Runt);
    };
    let own = MacBits::from(entry.mac);
    if src == own {
        // The kernel's own packets on a shared interface, or ours coming back.
        return Classified::Drop(DropReason::OwnSource);
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
        Some(remote) => accept(view, attachment, Endpoint::Vtep(attachment, remote), 0, buf),
        None if vtep.learn => Classified::UnknownVtep(buf, udp.src.ip()),
        None => Classified::Drop(DropReason::VxlanUnknownVtep),
    })
}

/// Takes `buf` as tagged or untagged.
#[inline(always)]
fn by_tag<B: PacketBuf>(view: View<'_>, trunk: &TrunkEntry, buf: B) -> Classified<B> {
    let (attachment, tag) = match ethernet::outer_vlan(buf.data()) {
        Some(0) => (trunk.untagged, wire::vlan::TAG_LEN), // priority tag: IEEE 802.1Q 9.6, no VLAN but a priority
        Some(vid) => match trunk.vlans.get(vid) {
            Some(attachment) => (Some(attachment), wire::vlan::TAG_LEN),
            None => return Classified::Drop(DropReason::UnknownVlan),
        },
        None => (trunk.untagged, 0),
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
    accept(view, attachment, Endpoint::Attachment(attachment), tag, buf)
}

/// Takes the addresses off, and `tag` octets behind them.
#[inline(always)]
fn accept<B: PacketBuf>(
    view: View<'_>,
    attachment: AttachmentIndex,
    from: Endpoint,
    tag: usize,
    mut buf: B,
) -> Classified<B> {
    let Some(entry) = view.tables.attachment(attachment) else {
        return Classified::Drop(DropReason::NoDestination);
    };
    let segment = entry.segment;
    let Some(mtu) = view.tables.segments.get(segment).map(|segment| segment.mtu) else {
        return Classified::Drop(DropReason::NoDestination);
    };
    let octets = buf.len() - tag.min(buf.len());
    if octets < ethernet::HEADER_LEN {
        return Classified::Drop(DropReason::Runt);
    }
    let Some((dst, src)) = MacBits::of_frame(buf.data()) else {
        return Classified::Drop(DropReason::Runt);
    };
    match bridgeable(dst, src, octets, mtu) {
        Ok(()) => {
            buf.trim_front(ADDRESSES + tag);
            Classified::Frame(Meta { segment, from: from.into(), dst, src }, buf)
        }
        Err(reason) => Classified::Drop(reason),
    }
}
