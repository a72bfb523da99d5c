//! Stage three towards a local port: puts the attachment's VLAN tag or VXLAN header on.

use bridge::{AttachmentIndex, RemoteIndex, SegmentIndex};
use counters::DropReason;
use wire::buf::PacketBuf;
use wire::ethernet::EtherType;
use wire::mac::MacAddr;
use wire::vlan::{TAG_LEN, VlanId};
use wire::vxlan::{Vni, VxlanHeader};
use wire::{flow, vxlan};

use crate::tables::{AttachmentEntry, Encap, PortIndex};
use crate::{Sink, View};

/// Sends a frame of `segment` out of an attachment, for VXLAN to the given remote VTEP.
pub(crate) fn send<B: PacketBuf, S: Sink<B>>(
    view: View<'_>,
    sink: &mut S,
    segment: SegmentIndex,
    (attachment, remote): (AttachmentIndex, Option<RemoteIndex>),
    mut buf: B,
) {
    // The segment is checked once more: no frame leaves its segment, whatever the FDB says.
    let Some(entry) = view.tables.attachment(attachment).filter(|entry| entry.segment == segment) else {
        return view.dropped(DropReason::NoDestination);
    };
    match encapsulate(view, entry, remote, &mut buf) {
        Ok(port) => sink.send(port, buf),
        Err(reason) => view.dropped(reason),
    }
}

fn encapsulate<B: PacketBuf>(
    view: View<'_>,
    entry: &AttachmentEntry,
    remote: Option<RemoteIndex>,
    buf: &mut B,
) -> Result<PortIndex, DropReason> {
    match &entry.encap {
        Encap::Untagged => {}
        Encap::Vlan(vlan) => push_vlan(buf, *vlan)?,
        Encap::Vxlan(vni, _) => {
            let remote = remote.and_then(|remote| view.tables.remote(remote));
            let header = remote.and_then(|remote| remote.header.as_ref()).ok_or(DropReason::NoNextHop)?;
            let source_port = vxlan::source_port(flow::hash(buf.data()));
            push_vxlan(buf, *vni)?;
            if !header.write(buf, source_port) {
                return Err(DropReason::NoBuffer);
            }
        }
    }
    Ok(entry.port)
}

fn push_vlan<B: PacketBuf>(buf: &mut B, vlan: VlanId) -> Result<(), DropReason> {
    buf.prepend(TAG_LEN).ok_or(DropReason::NoBuffer)?;
    let data = buf.data_mut();
    data.copy_within(TAG_LEN..TAG_LEN + 2 * MacAddr::LEN, 0);
    data[2 * MacAddr::LEN..][..2].copy_from_slice(&EtherType::VLAN.get().to_be_bytes());
    data[2 * MacAddr::LEN + 2..][..2].copy_from_slice(&vlan.get().to_be_bytes());
    Ok(())
}

fn push_vxlan<B: PacketBuf>(buf: &mut B, vni: Vni) -> Result<(), DropReason> {
    let room = buf.prepend(vxlan::HEADER_LEN).ok_or(DropReason::NoBuffer)?;
    room.copy_from_slice(&VxlanHeader::new(vni).to_bytes());
    Ok(())
}
