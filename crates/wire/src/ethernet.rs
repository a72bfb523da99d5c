//! Ethernet II headers (IEEE 802.3).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::mac::MacAddr;
use crate::vlan::VlanTag;

/// Octets of a header without a tag.
pub const HEADER_LEN: usize = 14;

/// What follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtherType(u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// 802.1Q customer tag.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86dd);
    /// 802.1ad service tag.
    pub const SERVICE_VLAN: Self = Self(0x88a8);

    /// The type with this number.
    pub const fn new(raw: u16) -> Self {
        Self(raw)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether a VLAN tag follows, and another type behind it.
    #[inline]
    pub fn is_tag(self) -> bool {
        self == Self::VLAN || self == Self::SERVICE_VLAN
    }
}

/// An Ethernet II header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EthernetHeader {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
    /// What follows.
    pub ethertype: U16,
}

impl EthernetHeader {
    /// The header at the start of `frame` and what follows it; `None` when `frame` is shorter.
    pub fn parse(frame: &[u8]) -> Option<(&Self, &[u8])> {
        Self::ref_from_prefix(frame).ok()
    }
}

/// Destination and source of `frame`; `None` when it is shorter than a header.
pub fn addresses(frame: &[u8]) -> Option<(MacAddr, MacAddr)> {
    let (header, _) = EthernetHeader::parse(frame)?;
    Some((header.dst, header.src))
}

/// The outer tag of `frame`, 802.1Q or 802.1ad; `None` when it has none.
#[inline]
pub fn outer_tag(frame: &[u8]) -> Option<VlanTag> {
    tag_at(frame, 2 * MacAddr::LEN)
}

/// The tag at this octet of `frame`.
#[inline]
pub fn tag_at(frame: &[u8], at: usize) -> Option<VlanTag> {
    let (tag, _) = VlanTag::read_from_prefix(frame.get(at..)?).ok()?;
    EtherType::new(tag.tpid.get()).is_tag().then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_round_trip(dst: [u8; 6], src: [u8; 6], ethertype: u16, rest: Vec<u8>) {
            let header = EthernetHeader { dst: MacAddr(dst), src: MacAddr(src), ethertype: U16::new(ethertype) };
            let frame = [header.as_bytes(), &rest].concat();
            prop_assert_eq!(EthernetHeader::parse(&frame), Some((&header, &rest[..])));
            prop_assert_eq!(addresses(&frame), Some((MacAddr(dst), MacAddr(src))));
        }

        #[test]
        fn the_vlan_of_a_tag_is_its_low_12_bits(tci: u16) {
            let mut frame = vec![0; 12];
            frame.extend([0x81, 0]);
            frame.extend(tci.to_be_bytes());
            prop_assert_eq!(outer_tag(&frame).map(|tag| tag.vid()), Some(tci & 0xfff));
        }
    }

    #[test]
    fn a_short_or_untagged_frame_has_no_vlan() {
        assert_eq!(outer_tag(&[0; 15]), None);
        assert_eq!(outer_tag(&[0; 60]), None);
        assert_eq!(addresses(&[0; 13]), None);
    }
}
