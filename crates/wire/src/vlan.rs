//! VLAN IDs and tags (IEEE 802.1Q).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::number::ranged;

ranged!(
    /// A VLAN ID, 1 to 4094. 0 marks a priority tag, 4095 is reserved (IEEE 802.1Q 9.6).
    VlanId(u16), 1, 4094, "VLAN ID"
);

/// Octets of a tag: EtherType and tag control information.
pub const TAG_LEN: usize = 4;

/// The tag as it follows the source address: its EtherType and the tag control information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VlanTag {
    /// 0x8100, or 0x88a8 for a service tag.
    pub tpid: U16,
    /// Priority (3 bits), drop eligible (1 bit), VLAN ID (12 bits).
    pub tci: U16,
}

impl VlanTag {
    /// The 12-bit VLAN ID, 0 to 4095.
    pub fn vid(&self) -> u16 {
        self.tci.get() & 0x0fff
    }

    /// Whether it is a service tag (IEEE 802.1ad).
    #[inline]
    pub fn is_service(&self) -> bool {
        self.tpid.get() == crate::ethernet::EtherType::SERVICE_VLAN.get()
    }

    /// Priority and drop eligibility as they stand in the tag control information.
    #[inline]
    pub fn priority(&self) -> u16 {
        self.tci.get() & 0xf000
    }

    /// The priority code point, 0 to 7.
    pub fn pcp(&self) -> u8 {
        (self.tci.get() >> 13) as u8
    }
}
