//! VXLAN (RFC 7348).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::number::ranged;

ranged!(
    /// A VXLAN network identifier of 24 bits (RFC 7348 5).
    Vni(u32), 0, 0x00ff_ffff, "VNI"
);

/// Octets of a header.
pub const HEADER_LEN: usize = 8;

/// The UDP port that IANA gave to VXLAN.
pub const UDP_PORT: u16 = 4789;

/// The I flag: the VNI is valid (RFC 7348 5). All other bits are ignored on receipt.
const FLAG_I: u8 = 0x08;

/// A VXLAN header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VxlanHeader {
    flags: u8,
    reserved: [u8; 3],
    vni: [u8; 3],
    reserved2: u8,
}

impl VxlanHeader {
    /// The header of a frame in `vni`.
    pub fn new(vni: Vni) -> Self {
        let [_, a, b, c] = vni.get().to_be_bytes();
        Self { flags: FLAG_I, reserved: [0; 3], vni: [a, b, c], reserved2: 0 }
    }

    /// The header at the start of `datagram` and what follows; `None` when it is shorter.
    pub fn parse(datagram: &[u8]) -> Option<(&Self, &[u8])> {
        Self::ref_from_prefix(datagram).ok()
    }

    /// The VNI, or `None` when the I flag is not set and the packet must be dropped.
    pub fn vni(&self) -> Option<Vni> {
        let [a, b, c] = self.vni;
        (self.flags & FLAG_I != 0).then(|| Vni::new(u32::from_be_bytes([0, a, b, c]))).flatten()
    }

    /// The header as it stands on the wire.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        zerocopy::transmute!(self)
    }
}

/// The UDP source port for a flow: entropy in the dynamic range 49152 to 65535 (RFC 7348 5).
pub fn source_port(flow_hash: u32) -> u16 {
    const FIRST: u16 = 49_152;
    FIRST | ((flow_hash >> 16) as u16 ^ flow_hash as u16) & 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_round_trip(raw in 0..=Vni::MAX) {
            let vni = Vni::new(raw).expect("in range");
            let bytes = VxlanHeader::new(vni).to_bytes();
            let (header, rest) = VxlanHeader::parse(&bytes).expect("long enough");
            prop_assert_eq!(header.vni(), Some(vni));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn source_ports_are_dynamic(hash: u32) {
            prop_assert!(source_port(hash) >= 49_152);
        }
    }

    #[test]
    fn without_the_i_flag_there_is_no_vni_and_other_flags_do_not_matter() {
        let without = [0xf7, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(VxlanHeader::parse(&without).and_then(|(header, _)| header.vni()), None);
        let with = [0xff, 9, 9, 9, 0, 0, 1, 9];
        assert_eq!(VxlanHeader::parse(&with).and_then(|(header, _)| header.vni()), Vni::new(1));
    }
}
