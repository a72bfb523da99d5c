//! The frames that are measured with.

use dpdk::{Mbuf, MbufPool};
use wire::buf::{BufPool, PacketBuf};
use wire::mac::MacAddr;
use wire::vxlan::{self, Vni, VxlanHeader};

use crate::site::{self, Attachment, Shape};

/// Octets of a frame without VLAN tag, VXLAN or FCS, or the mixture of the internet ("IMIX": 7 of 64, 4 of 594, 1 of
/// 1500 octets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Fixed(usize),
    Imix,
}

/// In an order that no burst of any size sees but mixed.
const IMIX: [usize; 12] = [64, 594, 64, 64, 594, 64, 1500, 64, 594, 64, 594, 64];

impl Size {
    /// 1500 and 8900 name what follows the 14 octets of the Ethernet header, as MTUs do; smaller sizes are whole frames,
    /// as in RFC 2544 less the FCS.
    pub(crate) const ALL: [Self; 8] = [
        Self::Fixed(64),
        Self::Fixed(128),
        Self::Fixed(256),
        Self::Fixed(512),
        Self::Fixed(1024),
        Self::Fixed(1514),
        Self::Fixed(8914),
        Self::Imix,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Imix => "imix".into(),
            Self::Fixed(octets @ 1500..) => (octets - 14).to_string(),
            Self::Fixed(octets) => octets.to_string(),
        }
    }

    /// Octets of the frame number `at`.
    pub(crate) fn octets(self, at: usize) -> usize {
        match self {
            Self::Fixed(octets) => octets,
            Self::Imix => IMIX[at % IMIX.len()],
        }
    }

    /// Octets of a frame, on average.
    pub(crate) fn mean(self) -> f64 {
        match self {
            Self::Fixed(octets) => octets as f64,
            Self::Imix => IMIX.iter().sum::<usize>() as f64 / IMIX.len() as f64,
        }
    }
}

/// The station at site A of flow number `flow`.
pub(crate) fn source(flow: usize) -> MacAddr {
    station(0x0a, flow)
}

/// The station at site B of flow number `flow`.
pub(crate) fn destination(flow: usize) -> MacAddr {
    station(0x0b, flow)
}

/// Numbered as virtual machines are: one after the other.
fn station(side: u8, flow: usize) -> MacAddr {
    let [a, b, c, d] = (flow as u32).to_be_bytes();
    MacAddr([2, side, a, b, c, d])
}

/// Makes frames of random flows.
pub(crate) struct Frames {
    shape: Shape,
    size: Size,
    /// The segment of all frames when it is not the flow's: to measure what ends early.
    pub(crate) segment: Option<u16>,
    /// Whether frames are addressed to a station of their own side.
    pub(crate) hairpin: bool,
    filler: Vec<u8>,
    made: usize,
    random: u64,
}

impl Frames {
    pub(crate) fn new(shape: Shape, size: Size) -> Self {
        let filler = (0..10_000).map(|at| (at * 31) as u8).collect();
        Self { shape, size, segment: None, hairpin: false, filler, made: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The next frame, as it arrives at A's trunk. `None` when the pool is empty.
    pub(crate) fn next(&mut self, pool: &mut MbufPool) -> Option<Mbuf> {
        let octets = self.size.octets(self.made);
        self.made += 1;
        let flow = self.flow();
        let segment = self.segment.unwrap_or((flow % self.shape.segments) as u16);
        let destination = if self.hairpin { source(flow) } else { destination(flow) };
        let mut buf = pool.alloc()?;
        buf.append(12)?[..6].copy_from_slice(&destination.0);
        buf.data_mut()[6..].copy_from_slice(&source(flow).0);
        if self.shape.attachment == Attachment::Vlan {
            let [high, low] = (segment + 1).to_be_bytes();
            buf.append(4)?.copy_from_slice(&[0x81, 0, high, low]);
        }
        // An Ethertype for experiments, so that nothing takes the content for more than octets.
        buf.append(2)?.copy_from_slice(&[0x88, 0xb5]);
        buf.append(octets - 14)?.copy_from_slice(&self.filler[..octets - 14]);
        if self.shape.attachment == Attachment::Vxlan {
            let vni = Vni::new(u32::from(segment) + 1)?;
            buf.prepend(vxlan::HEADER_LEN)?.copy_from_slice(&VxlanHeader::new(vni).to_bytes());
            if !site::vxlan_header(1, true).write(&mut buf, 50_000) {
                return None;
            }
        }
        Some(buf)
    }

    /// Xorshift (Marsaglia): quick, and random enough that no cache guesses it.
    fn flow(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) as usize % self.shape.flows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_named_as_in_the_tables() {
        let names: Vec<String> = Size::ALL.iter().map(|size| size.name()).collect();
        assert_eq!(names, ["64", "128", "256", "512", "1024", "1500", "8900", "imix"]);
    }

    #[test]
    fn the_mixture_is_7_4_1() {
        let count = |octets| IMIX.iter().filter(|size| **size == octets).count();
        assert_eq!((count(64), count(594), count(1500)), (7, 4, 1));
        assert!((Size::Imix.mean() - 360.3).abs() < 0.1);
    }
}
