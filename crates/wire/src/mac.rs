//! MAC addresses (IEEE 802 48-bit).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A 48-bit MAC address, in the order of transmission.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Octets of an address.
    pub const LEN: usize = 6;

    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Where the loop guard's probes go: a group address of local administration, which bridges flood.
    pub const LOOP_PROBE: Self = Self([0x03, 0x43, 0x57, 0x4c, 0x47, 0x01]);

    /// The address of an IP multicast group (RFC 1112 6.4, RFC 2464 7); `None` for an address of one host.
    pub fn of_group(group: IpAddr) -> Option<Self> {
        match group {
            IpAddr::V4(group) if group.is_multicast() => {
                let [_, b, c, d] = group.octets();
                Some(Self([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
            }
            IpAddr::V6(group) if group.is_multicast() => {
                let [.., a, b, c, d] = group.octets();
                Some(Self([0x33, 0x33, a, b, c, d]))
            }
            _ => None,
        }
    }

    /// Whether this is the broadcast address.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether the group bit is set: multicast or broadcast.
    #[inline]
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether all octets are zero, which is no station's address.
    #[inline]
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }

    /// Whether this is one of the 16 addresses `01-80-C2-00-00-0x` that a bridge never forwards
    /// (IEEE 802.1Q 8.6.3): spanning tree, pause frames, LACP, LLDP.
    #[inline]
    pub fn is_link_reserved(self) -> bool {
        self.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && self.0[5] & 0xf0 == 0
    }

    /// The address as a number of 48 bits, first octet most significant.
    #[inline]
    pub fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address of the low 48 bits of `raw`.
    #[inline]
    pub fn from_u64(raw: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = raw.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

/// A MAC address as a number of 48 bits, first octet most significant. The data path's form: it stays in a register, where
/// six octets would go through memory in pieces and wait for each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct MacBits(u64);

impl MacBits {
    /// Destination and source at the front of a frame; `None` when it is shorter than an Ethernet header.
    #[inline]
    pub fn of_frame(frame: &[u8]) -> Option<(Self, Self)> {
        let header = frame.first_chunk::<{ crate::ethernet::HEADER_LEN }>()?;
        let dst_and_more = u64::from_be_bytes(*header.first_chunk()?);
        let less_and_src = u64::from_be_bytes(*header[4..].first_chunk()?);
        Some((Self(dst_and_more >> 16), Self(less_and_src & 0xffff_ffff_ffff)))
    }

    /// Both addresses as they stand at the front of a frame.
    #[inline]
    pub fn to_front(dst: Self, src: Self) -> [u8; 12] {
        let octets = (u128::from(dst.0) << 80 | u128::from(src.0) << 32).to_be_bytes();
        *octets.first_chunk().unwrap_or(&[0; 12])
    }

    /// The number.
    #[inline]
    pub fn get(self) -> u64 {
        self.0
    }

    /// As [`MacAddr::is_multicast`].
    #[inline]
    pub fn is_multicast(self) -> bool {
        self.0 >> 40 & 1 == 1
    }

    /// As [`MacAddr::is_broadcast`].
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self.0 == 0xffff_ffff_ffff
    }

    /// Whether it is [`MacAddr::LOOP_PROBE`].
    #[inline]
    pub fn is_loop_probe(self) -> bool {
        self.0 == 0x0343_574c_4701
    }

    /// As [`MacAddr::is_zero`].
    #[inline]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// As [`MacAddr::is_link_reserved`].
    #[inline]
    pub fn is_link_reserved(self) -> bool {
        self.0 >> 4 == 0x018_0c20_0000
    }
}

impl From<MacAddr> for MacBits {
    #[inline]
    fn from(mac: MacAddr) -> Self {
        Self(mac.to_u64())
    }
}

impl From<MacBits> for MacAddr {
    fn from(bits: MacBits) -> Self {
        Self::from_u64(bits.0)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six pairs of hexadecimal digits separated by colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a MAC address is written aa:bb:cc:dd:ee:ff")]
pub struct InvalidMac;

impl FromStr for MacAddr {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(InvalidMac)?;
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(InvalidMac);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| InvalidMac)?;
        }
        if parts.next().is_some() {
            return Err(InvalidMac);
        }
        Ok(Self(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_of_address() {
        assert!(MacAddr::BROADCAST.is_multicast());
        assert!(MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]).is_link_reserved());
        assert!(!MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x10]).is_link_reserved());
        assert!(!MacAddr([0x02, 0, 0, 0, 0, 1]).is_multicast());
    }

    #[test]
    fn groups_have_the_addresses_of_the_rfcs() {
        let of = |text: &str| MacAddr::of_group(text.parse().expect("an address")).map(|mac| mac.to_string());
        assert_eq!(of("239.129.2.3").as_deref(), Some("01:00:5e:01:02:03"));
        assert_eq!(of("ff05::1:1234").as_deref(), Some("33:33:00:01:12:34"));
        assert_eq!(of("192.0.2.1"), None);
        assert_eq!(of("fd00::1"), None);
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in [
            "",
            "1:2:3:4:5:6",
            "aa:bb:cc:dd:ee",
            "aa:bb:cc:dd:ee:ff:00",
            "+a:bb:cc:dd:ee:ff",
            "gg:bb:cc:dd:ee:ff",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(InvalidMac), "{text}");
        }
    }

    proptest! {
        #[test]
        fn bits_say_what_octets_say(front: [u8; 14], kind in 0..4u8) {
            let mut front = front;
            match kind {
                0 => front[..5].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0]),
                1 => front[..12].fill(0),
                2 => front[..6].copy_from_slice(&MacAddr::LOOP_PROBE.0),
                _ => {}
            }
            let (dst, src) = MacBits::of_frame(&front).expect("long enough");
            for (bits, octets) in [(dst, &front[..6]), (src, &front[6..12])] {
                let mac = MacAddr(octets.try_into().expect("six"));
                prop_assert_eq!(MacAddr::from(bits), mac);
                prop_assert_eq!(MacBits::from(mac), bits);
                prop_assert_eq!(bits.is_multicast(), mac.is_multicast());
                prop_assert_eq!(bits.is_zero(), mac.is_zero());
                prop_assert_eq!(bits.is_broadcast(), mac.is_broadcast());
                prop_assert_eq!(bits.is_loop_probe(), mac == MacAddr::LOOP_PROBE);
                prop_assert_eq!(bits.is_link_reserved(), mac.is_link_reserved());
            }
            prop_assert_eq!(&MacBits::to_front(dst, src)[..], &front[..12]);
            prop_assert_eq!(MacBits::of_frame(&front[..13]), None);
        }

        #[test]
        fn text_and_number_round_trip(octets: [u8; 6]) {
            let mac = MacAddr(octets);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(MacAddr::from_u64(mac.to_u64()), mac);
        }
    }
}
