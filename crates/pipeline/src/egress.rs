//! Stage three towards a local port: puts the attachment's VLAN tags or VXLAN header on.

use bridge::{AttachmentIndex, Checks, RemoteIndex};
use counters::DropReason;
use wire::buf::PacketBuf;
use wire::ethernet::EtherType;
use wire::inner::priority_tag;
use wire::vlan::{TAG_LEN, VlanId};
use wire::vxlan::{Vni, VxlanHeader};
use wire::{flow, vxlan};

use crate::frame::{ADDRESSES, Meta};
use crate::tables::{AttachmentEntry, Encap, PortIndex};
use crate::{Sink, View, inspect};

/// Sends a frame, given from its EtherType on, out of an attachment, for VXLAN to the given remote VTEP.
#[inline]
pub(crate) fn send<B: PacketBuf, S: Sink<B>>(
    view: View<'_>,
    sink: &mut S,
    meta: &Meta,
    (attachment, remote): (AttachmentIndex, Option<RemoteIndex>),
    mut buf: B,
) {
    // The segment is checked once more: no frame leaves its segment, whatever the FDB says.
    let Some(entry) = view.tables.attachment(attachment).filter(|entry| entry.segment == meta.segment) else {
        return lost(view, DropReason::NoDestination, meta, buf.data());
    };
    if meta.checks.any(Checks::REFLECTIONS) {
        inspect::leaves(view, meta, attachment, buf.data());
    }
    match encapsulate(view, entry, remote, meta, &mut buf) {
        Ok(port) => sink.send(port, buf),
        Err(reason) => lost(view, reason, meta, buf.data()),
    }
}

/// One copy of a frame does not leave; it was taken from where it came from, and others of it may have left.
#[cold]
fn lost(view: View<'_>, reason: DropReason, meta: &Meta, rest: &[u8]) {
    view.dropped_in(meta.segment, reason);
    view.lost(reason, meta.place(), [&meta.addresses(), rest]);
}

fn encapsulate<B: PacketBuf>(
    view: View<'_>,
    entry: &AttachmentEntry,
    remote: Option<RemoteIndex>,
    meta: &Meta,
    buf: &mut B,
) -> Result<PortIndex, DropReason> {
    // A priority tag becomes the priority of the attachment's own tag, or ends here where there is none: VXLAN carries
    // no tag (RFC 7348 6.1), and an untagged port sends none (IEEE 802.1Q 8.8.2).
    let priority = match priority_tag(buf.data()) {
        Some(tag) => {
            buf.trim_front(TAG_LEN);
            tag.priority()
        }
        None => 0,
    };
    let tag = |ethertype: EtherType, vlan: VlanId| {
        u32::from(ethertype.get()) << 16 | u32::from(priority) | u32::from(vlan.get())
    };
    match &entry.encap {
        Encap::Untagged => put_front(buf, &meta.addresses())?,
        Encap::Vlan(vlan) => put_tagged(buf, meta, [tag(EtherType::VLAN, *vlan)])?,
        Encap::Service(service, None) => put_tagged(buf, meta, [tag(EtherType::SERVICE_VLAN, *service)])?,
        Encap::Service(service, Some(vlan)) => {
            put_tagged(buf, meta, [tag(EtherType::SERVICE_VLAN, *service), tag(EtherType::VLAN, *vlan)])?;
        }
        Encap::Vxlan(vni, _) => {
            let remote = remote.and_then(|remote| view.tables.remote(remote));
            let header = remote.and_then(|remote| remote.header.as_ref()).ok_or(DropReason::NoNextHop)?;
            let source_port = vxlan::source_port(flow::hash(meta.dst, meta.src, buf.data()));
            put_front(buf, &meta.addresses())?;
            push_vxlan(buf, *vni)?;
            if !header.write(buf, source_port) {
                return Err(DropReason::NoBuffer);
            }
        }
    }
    Ok(entry.port)
}

/// Puts both addresses and the tags behind them (IEEE 802.1Q 9.6) in front.
#[inline]
fn put_tagged<B: PacketBuf, const N: usize>(
    buf: &mut B,
    meta: &Meta,
    tags: [u32; N],
) -> Result<(), DropReason> {
    let front = buf.prepend(ADDRESSES + N * TAG_LEN).ok_or(DropReason::NoBuffer)?;
    front[..ADDRESSES].copy_from_slice(&meta.addresses());
    for (place, tag) in front[ADDRESSES..].chunks_exact_mut(TAG_LEN).zip(tags) {
        place.copy_from_slice(&tag.to_be_bytes());
    }
    Ok(())
}

#[inline]
fn put_front<B: PacketBuf, const N: usize>(buf: &mut B, octets: &[u8; N]) -> Result<(), DropReason> {
    buf.prepend(N).ok_or(DropReason::NoBuffer)?.copy_from_slice(octets);
    Ok(())
}

fn push_vxlan<B: PacketBuf>(buf: &mut B, vni: Vni) -> Result<(), DropReason> {
    put_front(buf, &VxlanHeader::new(vni).to_bytes())
}
