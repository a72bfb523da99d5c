//! Looks at the checksums of a few frames a second: a sender behind a port without checksum offload that leaves them to its NIC sends
//! frames that every receiver drops, and nothing else tells.

use wire::checksum::Sum;
use wire::ethernet::EtherType;
use wire::inner::inner;
use wire::ip::{Ipv4Header, Ipv6Header, PROTOCOL_TCP, PROTOCOL_UDP};
use zerocopy::FromBytes;

use crate::View;
use crate::frame::Meta;

/// Looks at a frame from a local attachment, given from its EtherType on. False: it has no checksum to look at.
#[cold]
pub(crate) fn sample(view: View<'_>, meta: &Meta, rest: &[u8]) -> bool {
    let Some(right) = is_right(rest) else { return false };
    if let Some(counters) = view.counters.segments.get(usize::from(meta.segment.0)) {
        counters.checksums.sampled.add(1);
        counters.checksums.wrong.add(u64::from(!right));
    }
    true
}

/// Whether the checksum of a TCP segment or UDP datagram is right; `None` where there is none, or not all of it is here.
pub(crate) fn is_right(rest: &[u8]) -> Option<bool> {
    let found = inner(rest)?;
    let packet = rest.get(found.start..)?;
    let (source, destination, protocol, segment) = match found.ethertype {
        EtherType::IPV4 => {
            let (header, _) = Ipv4Header::ref_from_prefix(packet).ok()?;
            if header.is_fragment() {
                return None;
            }
            // Octets behind the packet are padding of a short frame.
            let segment = packet.get(header.header_len()..usize::from(header.total_len.get()))?;
            (header.source().into(), header.destination().into(), header.protocol, segment)
        }
        EtherType::IPV6 => {
            let (header, payload) = Ipv6Header::ref_from_prefix(packet).ok()?;
            let segment = payload.get(..usize::from(header.payload_len.get()))?;
            (header.source().into(), header.destination().into(), header.next_header, segment)
        }
        _ => return None,
    };
    match protocol {
        PROTOCOL_TCP if segment.len() >= 20 => {}
        // A checksum of zero is none (RFC 768).
        PROTOCOL_UDP if segment.len() >= 8 && segment[6..8] != [0, 0] => {}
        _ => return None,
    }
    let sum = Sum::default().add_pseudo(source, destination, protocol, segment.len() as u32).with(segment);
    Some(sum.finish() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn udp(checksum: Option<u16>) -> Vec<u8> {
        let mut segment = vec![0x10, 0, 0x20, 0, 0, 12, 0, 0, 1, 2, 3, 4];
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let sum = Sum::default().add_pseudo(a.into(), b.into(), PROTOCOL_UDP, 12).with(&segment).finish();
        segment[6..8].copy_from_slice(&checksum.unwrap_or(sum).to_be_bytes());
        let header = [0x45, 0, 0, 32, 0, 0, 0, 0, 64, PROTOCOL_UDP, 0, 0];
        [&[8, 0][..], &header, &a.octets(), &b.octets(), &segment, &[0; 14]].concat()
    }

    #[test]
    fn right_and_wrong_checksums_are_told_apart_and_none_is_none() {
        assert_eq!(is_right(&udp(None)), Some(true), "padding does not count");
        assert_eq!(is_right(&udp(Some(0x1234))), Some(false));
        assert_eq!(is_right(&udp(Some(0))), None);
        assert_eq!(is_right(&[8, 6, 0, 1]), None);
        let mut fragment = udp(Some(0x1234));
        fragment[8] = 0x20;
        assert_eq!(is_right(&fragment), None);
        for len in 0..udp(None).len() - 14 {
            assert_eq!(is_right(&udp(None)[..len]), None);
        }
    }
}
