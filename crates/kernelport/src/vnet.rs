//! The header that the kernel puts before each frame of a socket with `PACKET_VNET_HDR`: struct
//! `virtio_net_hdr` (virtio 1.2, 5.1.6) in the machine's byte order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the kernel knows of a frame beside its octets: whether a checksum is unfinished, and whether the frame is a
/// super-frame of several segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VnetHeader {
    flags: u8,
    gso_type: u8,
    /// A hint of the kernel: octets of all headers.
    header_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Where a checksum is to be finished: from `start` to the frame's end, to be written at `start + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// First octet that is summed.
    pub start: usize,
    /// Where the sum goes, counted from `start`.
    pub offset: usize,
}

/// What the segments of a super-frame are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP segments.
    Tcp,
    /// UDP datagrams.
    Udp,
}

/// A super-frame's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmented {
    /// What they are.
    pub transport: Transport,
    /// Octets of payload of each but the last.
    pub size: usize,
}

/// A kind of super-frame that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an unknown kind of super-frame")]
pub struct UnknownKind;

impl VnetHeader {
    /// Octets of the header.
    pub const LEN: usize = size_of::<Self>();

    /// The header of a super-frame of our own. `transport_at` is where its TCP or UDP header starts, whose checksum field holds
    /// the sum of the pseudo-header; `payload_at` is where its payload starts.
    pub fn super_frame(
        segmented: Segmented,
        v6: bool,
        congestion_window_reduced: bool,
        transport_at: usize,
        payload_at: usize,
    ) -> Self {
        let (kind, csum_offset) = match segmented.transport {
            Transport::Tcp => (if v6 { GSO_TCPV6 } else { GSO_TCPV4 }, 16),
            Transport::Udp => (GSO_UDP_L4, 6),
        };
        Self {
            flags: NEEDS_CSUM,
            gso_type: kind | if congestion_window_reduced { GSO_ECN } else { 0 },
            header_len: payload_at as u16,
            gso_size: segmented.size as u16,
            csum_start: transport_at as u16,
            csum_offset,
        }
    }

    /// The header of the same frame with `octets` more before its transport header: a VLAN tag that was put back.
    pub(crate) fn moved_by(self, octets: u16) -> Self {
        Self { csum_start: self.csum_start.saturating_add(octets), ..self }
    }

    /// The checksum that the receiver has to finish.
    pub fn partial(&self) -> Option<Partial> {
        (self.flags & NEEDS_CSUM != 0)
            .then(|| Partial { start: self.csum_start.into(), offset: self.csum_offset.into() })
    }

    /// The segments, if the frame is a super-frame.
    pub fn segmented(&self) -> Result<Option<Segmented>, UnknownKind> {
        let transport = match self.gso_type & !GSO_ECN {
            0 => return Ok(None),
            GSO_TCPV4 | GSO_TCPV6 => Transport::Tcp,
            GSO_UDP_L4 => Transport::Udp,
            _ => return Err(UnknownKind),
        };
        if self.gso_size == 0 {
            return Err(UnknownKind);
        }
        Ok(Some(Segmented { transport, size: self.gso_size.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_super_frame_says_what_it_is() {
        let segmented = Segmented { transport: Transport::Tcp, size: 1448 };
        let header = VnetHeader::super_frame(segmented, false, true, 34, 66);
        assert_eq!(header.as_bytes().len(), 10);
        assert_eq!(header.segmented(), Ok(Some(segmented)));
        assert_eq!(header.partial(), Some(Partial { start: 34, offset: 16 }));
        assert_eq!(VnetHeader::default().segmented(), Ok(None));
        assert_eq!(VnetHeader::default().partial(), None);
        let fragments = VnetHeader { gso_type: 3, gso_size: 1480, ..VnetHeader::default() };
        assert_eq!(fragments.segmented(), Err(UnknownKind));
    }
}
