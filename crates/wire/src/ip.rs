//! IPv4 (RFC 791), IPv6 (RFC 8200) and UDP (RFC 768) headers.

use std::net::{Ipv4Addr, Ipv6Addr};

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// An IPv4 header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub version_ihl: u8,
    /// DSCP (6 bits) and ECN (2 bits).
    pub tos: u8,
    /// Octets of the packet, header included.
    pub total_len: U16,
    /// Identification.
    pub id: U16,
    /// Flags (3 bits) and fragment offset in units of 8 octets (13 bits).
    pub flags_fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: U16,
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
}

impl Ipv4Header {
    /// Octets of a header without options.
    pub const LEN: usize = 20;
    /// The don't-fragment flag.
    pub const DONT_FRAGMENT: u16 = 0x4000;

    /// Octets of the header, options included, as it says itself.
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl & 0x0f) * 4
    }

    /// Whether this packet is a fragment: more follow, or it is not the first.
    pub fn is_fragment(&self) -> bool {
        self.flags_fragment.get() & 0x3fff != 0
    }

    /// Source address.
    pub fn source(&self) -> Ipv4Addr {
        self.src.into()
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv4Addr {
        self.dst.into()
    }
}

/// An IPv6 header without extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8 bits), flow label (20 bits).
    pub version_class_flow: U32,
    /// Octets that follow this header.
    pub payload_len: U16,
    /// What follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
}

impl Ipv6Header {
    /// Octets of the header.
    pub const LEN: usize = 40;

    /// Source address.
    pub fn source(&self) -> Ipv6Addr {
        self.src.into()
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv6Addr {
        self.dst.into()
    }
}

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct UdpHeader {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Octets of header and payload.
    pub len: U16,
    /// Checksum over the pseudo-header, the header and the payload; 0 on IPv4: none.
    pub checksum: U16,
}

impl UdpHeader {
    /// Octets of the header.
    pub const LEN: usize = 8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_header_is_its_bytes(bytes: [u8; 40]) {
            let (v4, _) = Ipv4Header::ref_from_prefix(&bytes).expect("long enough");
            prop_assert_eq!(v4.as_bytes(), &bytes[..20]);
            prop_assert_eq!(v4.total_len.get(), u16::from_be_bytes([bytes[2], bytes[3]]));
            let (v6, _) = Ipv6Header::ref_from_prefix(&bytes).expect("long enough");
            prop_assert_eq!(v6.as_bytes(), &bytes[..]);
            prop_assert_eq!(&v6.destination().octets()[..], &bytes[24..40]);
            let (udp, _) = UdpHeader::ref_from_prefix(&bytes).expect("long enough");
            prop_assert_eq!(udp.as_bytes(), &bytes[..8]);
        }
    }
}
