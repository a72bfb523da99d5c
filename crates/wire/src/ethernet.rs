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

/// The 12-bit VLAN ID of the outer 802.1Q tag of `frame`; `None` when it has none.
pub fn outer_vlan(frame: &[u8]) -> Option<u16> {
    let (tag, _) = VlanTag::ref_from_prefix(frame.get(2 * MacAddr::LEN..)?).ok()?;
    (tag.tpid.get() == EtherType::VLAN.get()).then(|| tag.vid())
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
            prop_assert_eq!(outer_vlan(&frame), Some(tci & 0xfff));
        }
    }

    #[test]
    fn a_short_or_untagged_frame_has_no_vlan() {
        assert_eq!(outer_vlan(&[0; 15]), None);
        assert_eq!(outer_vlan(&[0; 60]), None);
        assert_eq!(addresses(&[0; 13]), None);
    }
}
