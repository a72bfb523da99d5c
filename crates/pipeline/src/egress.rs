//! Stage three towards a local port: puts the attachment's VLAN tag or VXLAN header on.

use bridge::{AttachmentIndex, RemoteIndex};
use counters::DropReason;
use wire::buf::PacketBuf;
use wire::ethernet::EtherType;
use wire::vlan::{TAG_LEN, VlanId};
use wire::vxlan::{Vni, VxlanHeader};
use wire::{flow, vxlan};

use crate::frame::{ADDRESSES, Meta};
use crate::tables::{AttachmentEntry, Encap, PortIndex};
use crate::{Sink, View};

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
        return view.dropped(DropReason::NoDestination);
    };
    match encapsulate(view, entry, remote, meta, &mut buf) {
        Ok(port) => sink.send(port, buf),
        Err(reason) => view.dropped(reason),
    }
}

fn encapsulate<B: PacketBuf>(
    view: View<'_>,
    entry: &AttachmentEntry,
    remote: Option<RemoteIndex>,
    meta: &Meta,
    buf: &mut B,
) -> Result<PortIndex, DropReason> {
    match &entry.encap {
        Encap::Untagged => put_front(buf, &meta.addresses())?,
        Encap::Vlan(vlan) => put_front(buf, &with_tag(meta, *vlan))?,
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

/// Both addresses, and the tag behind them (IEEE 802.1Q 9.6).
#[inline]
fn with_tag(meta: &Meta, vlan: VlanId) -> [u8; ADDRESSES + TAG_LEN] {
    let mut octets = [0; ADDRESSES + TAG_LEN];
    octets[..ADDRESSES].copy_from_slice(&meta.addresses());
    octets[ADDRESSES..ADDRESSES + 2].copy_from_slice(&EtherType::VLAN.get().to_be_bytes());
    octets[ADDRESSES + 2..].copy_from_slice(&vlan.get().to_be_bytes());
    octets
}

#[inline]
fn put_front<B: PacketBuf, const N: usize>(buf: &mut B, octets: &[u8; N]) -> Result<(), DropReason> {
    buf.prepend(N).ok_or(DropReason::NoBuffer)?.copy_from_slice(octets);
    Ok(())
}

fn push_vxlan<B: PacketBuf>(buf: &mut B, vni: Vni) -> Result<(), DropReason> {
    put_front(buf, &VxlanHeader::new(vni).to_bytes())
}
