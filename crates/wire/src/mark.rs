//! DSCP (RFC 2474) and ECN (RFC 3168): the octet of an IP header that asks for a treatment and tells of congestion.

use crate::checksum;
use crate::ethernet::EtherType;
use crate::inner::inner;
use crate::ip::{Ipv4Header, Ipv6Header};

/// The octet: DSCP in the upper six bits, ECN in the lower two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(pub u8);

const ECN: u8 = 3;
const NOT_ECT: u8 = 0;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// Where the checksum of an IPv4 header is.
const IPV4_CHECKSUM: usize = 10;

impl Mark {
    /// A DSCP without ECN.
    pub fn dscp(dscp: u8) -> Self {
        Self(dscp << 2)
    }

    /// That of an IP packet.
    #[inline]
    fn of_packet(ethertype: EtherType, packet: &[u8]) -> Option<Self> {
        let [first, second, ..] = *packet else { return None };
        match ethertype {
            EtherType::IPV4 => Some(Self(second)),
            EtherType::IPV6 => Some(Self(first << 4 | second >> 4)),
            _ => None,
        }
    }

    /// That of the packet in a frame, given from its EtherType on; of one without IP: nothing special.
    #[inline]
    pub fn of_frame(rest: &[u8]) -> Self {
        let found = inner(rest).and_then(|found| Self::of_packet(found.ethertype, rest.get(found.start..)?));
        found.unwrap_or_default()
    }

    /// Only the DSCP.
    pub fn without_ecn(self) -> Self {
        Self(self.0 & !ECN)
    }

    /// Only ECN.
    pub fn only_ecn(self) -> Self {
        Self(self.0 & ECN)
    }

    /// What a tunnel puts outside for this inner mark: congestion that was met before the tunnel is the inner packet's own
    /// (RFC 6040 4.1, compatibility with what a record carries more than one frame of).
    pub fn entering(self) -> Self {
        if self.0 & ECN == CE { Self(self.0 & !ECN | ECT_0) } else { self }
    }

    /// Whether a router has met congestion.
    pub fn is_congested(self) -> bool {
        self.0 & ECN == CE
    }

    /// Puts it into the IP header at `at` of a frame that we made.
    pub fn write(self, frame: &mut [u8], at: usize, is_ipv4: bool) {
        let Some(packet) = frame.get_mut(at..) else { return };
        put(packet, is_ipv4, self.0);
    }
}

/// The mark of the IP header at the front of a frame's packet, the frame given from its Ethernet header on.
pub fn of_outer(frame: &[u8]) -> Mark {
    frame.get(12..).map_or_else(Mark::default, Mark::of_frame)
}

/// Tells the packet in a frame, given from its EtherType on, of congestion that its record met, if it understands that (RFC 6040 4.2).
pub fn congest(rest: &mut [u8]) {
    let Some(found) = inner(rest) else { return };
    let is_ipv4 = match found.ethertype {
        EtherType::IPV4 => true,
        EtherType::IPV6 => false,
        _ => return,
    };
    let Some(packet) = rest.get_mut(found.start..) else { return };
    let least = if is_ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN };
    let Some(mark) = Mark::of_packet(found.ethertype, packet).filter(|_| packet.len() >= least) else {
        return;
    };
    if mark.0 & ECN != NOT_ECT {
        put(packet, is_ipv4, mark.0 | CE);
    }
}

fn put(packet: &mut [u8], is_ipv4: bool, mark: u8) {
    if packet.len() < if is_ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN } {
        return;
    }
    if is_ipv4 {
        let old = u16::from_be_bytes([packet[0], packet[1]]);
        let new = u16::from_be_bytes([packet[0], mark]);
        let sum = u16::from_be_bytes([packet[IPV4_CHECKSUM], packet[IPV4_CHECKSUM + 1]]);
        packet[1] = mark;
        packet[IPV4_CHECKSUM..][..2].copy_from_slice(&checksum::update(sum, old, new).to_be_bytes());
    } else {
        packet[0] = packet[0] & 0xf0 | mark >> 4;
        packet[1] = packet[1] & 0x0f | mark << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(tos: u8) -> Vec<u8> {
        let mut packet = vec![0x45, tos, 0, 20, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        let sum = checksum::internet(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        [&[8, 0][..], &packet].concat()
    }

    #[test]
    fn congestion_is_told_to_those_who_understand_it() {
        for (before, after) in [(0xb8, 0xb8), (0xb9, 0xbb), (0xba, 0xbb), (0xbb, 0xbb)] {
            let mut frame = ipv4(before);
            congest(&mut frame);
            assert_eq!(Mark::of_frame(&frame), Mark(after));
            assert_eq!(checksum::internet(&frame[2..]), 0, "the checksum is right");
            let mut six = vec![0x86, 0xdd, 0x60 | before >> 4, before << 4 | 5];
            six.resize(60, 0);
            congest(&mut six);
            assert_eq!(Mark::of_frame(&six), Mark(after));
            assert_eq!(six[3] & 15, 5, "the flow label stays");
        }
    }

    #[test]
    fn tags_are_looked_behind_and_other_frames_left_alone() {
        let tagged = [&[0x81, 0, 0xe0, 0][..], &ipv4(0x28)].concat();
        assert_eq!(Mark::of_frame(&tagged), Mark(0x28));
        let mut arp = vec![8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
        let before = arp.clone();
        congest(&mut arp);
        assert_eq!((arp, Mark::of_frame(&before)), (before.clone(), Mark(0)));
        for cut in 0..22 {
            congest(&mut ipv4(2)[..cut]);
        }
    }

    #[test]
    fn congestion_before_the_tunnel_stays_inside() {
        assert_eq!(Mark(0xbb).entering(), Mark(0xba));
        assert_eq!(Mark(0xb9).entering(), Mark(0xb9));
        assert_eq!(Mark(0xb8).entering(), Mark(0xb8));
    }
}
