//! Finds the UDP datagram in an Ethernet frame.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use zerocopy::FromBytes;

use crate::ethernet::{self, EtherType, EthernetHeader};
use crate::ip::{Ipv4Header, Ipv6Header, PROTOCOL_UDP, UdpHeader};
use crate::mac::MacAddr;

/// A UDP datagram inside a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpView {
    /// Destination MAC address of the frame.
    pub dst_mac: MacAddr,
    /// Source MAC address of the frame.
    pub src_mac: MacAddr,
    /// Where the datagram comes from.
    pub src: SocketAddr,
    /// Where it goes.
    pub dst: SocketAddr,
    /// The datagram's payload, as octets of the frame.
    pub payload: Range<usize>,
}

/// A header says that there is more than there is, or contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet is cut off or contradicts itself")]
pub struct Malformed;

/// The UDP datagram of `frame`, an untagged Ethernet frame with IPv4 (options are skipped) or IPv6 (without
/// extension headers). `Ok(None)` when it holds something else, or a fragment. Checksums are not looked at:
/// what is inside is protected better, or is the inner host's own.
pub fn parse_udp(frame: &[u8]) -> Result<Option<UdpView>, Malformed> {
    let (ethernet, packet) = EthernetHeader::parse(frame).ok_or(Malformed)?;
    let found = match EtherType::new(ethernet.ethertype.get()) {
        EtherType::IPV4 => ipv4(packet)?,
        EtherType::IPV6 => ipv6(packet)?,
        _ => None,
    };
    let Some(IpPayload { src, dst, range }) = found else {
        return Ok(None);
    };
    let datagram = &packet[range.clone()];
    let (udp, _) = UdpHeader::ref_from_prefix(datagram).map_err(|_| Malformed)?;
    let len = usize::from(udp.len.get());
    if len < UdpHeader::LEN || len > datagram.len() {
        return Err(Malformed);
    }
    let start = ethernet::HEADER_LEN + range.start;
    Ok(Some(UdpView {
        dst_mac: ethernet.dst,
        src_mac: ethernet.src,
        src: SocketAddr::new(src, udp.src_port.get()),
        dst: SocketAddr::new(dst, udp.dst_port.get()),
        payload: start + UdpHeader::LEN..start + len,
    }))
}

/// What an IP packet carries, when that is UDP.
struct IpPayload {
    src: IpAddr,
    dst: IpAddr,
    range: Range<usize>,
}

fn ipv4(packet: &[u8]) -> Result<Option<IpPayload>, Malformed> {
    let (header, _) = Ipv4Header::ref_from_prefix(packet).map_err(|_| Malformed)?;
    let (start, end) = (header.header_len(), usize::from(header.total_len.get()));
    if header.version_ihl >> 4 != 4 || start < Ipv4Header::LEN || end < start || end > packet.len() {
        return Err(Malformed);
    }
    if header.protocol != PROTOCOL_UDP || header.is_fragment() {
        return Ok(None);
    }
    Ok(Some(IpPayload { src: header.source().into(), dst: header.destination().into(), range: start..end }))
}

fn ipv6(packet: &[u8]) -> Result<Option<IpPayload>, Malformed> {
    let (header, rest) = Ipv6Header::ref_from_prefix(packet).map_err(|_| Malformed)?;
    let len = usize::from(header.payload_len.get());
    if header.version_class_flow.get() >> 28 != 6 || len > rest.len() {
        return Err(Malformed);
    }
    if header.next_header != PROTOCOL_UDP {
        return Ok(None);
    }
    let range = Ipv6Header::LEN..Ipv6Header::LEN + len;
    Ok(Some(IpPayload { src: header.source().into(), dst: header.destination().into(), range }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 192.0.2.1:1000 to 192.0.2.2:443, 4 octets of payload, 2 octets of Ethernet padding.
    fn datagram() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
        frame.extend([0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend([0x03, 0xe8, 0x01, 0xbb, 0, 12, 0, 0, 1, 2, 3, 4, 0, 0]);
        frame
    }

    #[test]
    fn finds_the_payload_without_the_padding() {
        let view = parse_udp(&datagram()).expect("well-formed").expect("UDP");
        assert_eq!(view.src.to_string(), "192.0.2.1:1000");
        assert_eq!(view.dst.to_string(), "192.0.2.2:443");
        assert_eq!(datagram()[view.payload], [1, 2, 3, 4]);
    }

    #[test]
    fn fragments_and_other_protocols_are_none() {
        for (at, value) in [(20, 0x20), (21, 0x01), (23, 6), (12, 0x86)] {
            let mut frame = datagram();
            frame[at] = value;
            if at == 12 {
                frame[13] = 0x00;
            }
            assert_eq!(parse_udp(&frame), Ok(None), "octet {at}");
        }
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        for (at, value) in [(17, 200), (17, 10), (14, 0x41), (14, 0x4f), (39, 200), (39, 7), (14, 0x65)] {
            let mut frame = datagram();
            frame[at] = value;
            assert_eq!(parse_udp(&frame), Err(Malformed), "octet {at} = {value}");
        }
        for len in 0..46 {
            assert_ne!(parse_udp(&datagram()[..len]).map(|view| view.is_some()), Ok(true), "{len}");
        }
    }

    proptest! {
        #[test]
        fn random_octets_never_panic_and_never_point_outside(mut bytes: Vec<u8>, kind in 0..4u8) {
            if bytes.len() > 24 && kind > 0 {
                bytes[12..14].copy_from_slice(if kind == 1 { &[8, 0] } else { &[0x86, 0xdd] });
                bytes[14] = if kind == 1 { 0x45 } else { 0x60 };
                bytes[if kind == 1 { 23 } else { 20 }] = 17;
            }
            if let Ok(Some(view)) = parse_udp(&bytes) {
                prop_assert!(bytes.get(view.payload).is_some());
            }
        }
    }
}
