//! The outer headers of a path, built once and copied in front of every datagram.

use std::net::{IpAddr, SocketAddr};

use zerocopy::IntoBytes;
use zerocopy::byteorder::network_endian::{U16, U32};

use crate::buf::PacketBuf;
use crate::checksum::{self, Sum};
use crate::ethernet::{self, EtherType, EthernetHeader};
use crate::ip::{Ipv4Header, Ipv6Header, PROTOCOL_UDP, UdpHeader};
use crate::mac::MacAddr;
use crate::mark::Mark;

const MAX_LEN: usize = ethernet::HEADER_LEN + Ipv6Header::LEN + UdpHeader::LEN;
const TTL: u8 = 64;

/// Offset of the fields behind the Ethernet header.
const IPV4_TOTAL_LEN: usize = ethernet::HEADER_LEN + 2;
const IPV4_CHECKSUM: usize = ethernet::HEADER_LEN + 10;
const IPV6_PAYLOAD_LEN: usize = ethernet::HEADER_LEN + 4;

/// Ethernet, IP and UDP headers from one address to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpTemplate {
    bytes: [u8; MAX_LEN],
    src: SocketAddr,
    dst: SocketAddr,
}

/// Source and destination are not of one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("source {0} and destination {1} are not of one address family")]
pub struct MixedFamilies(IpAddr, IpAddr);

impl UdpTemplate {
    /// Headers from `src` to `dst` through the next hop `dst_mac`. DF is set on IPv4: we never fragment.
    pub fn new(
        src_mac: MacAddr,
        dst_mac: MacAddr,
        src: SocketAddr,
        dst: SocketAddr,
    ) -> Result<Self, MixedFamilies> {
        let mut bytes = [0; MAX_LEN];
        let (ethertype, ip_len) = match (src.ip(), dst.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = Ipv4Header {
                    version_ihl: 0x45,
                    tos: 0,
                    total_len: U16::ZERO,
                    id: U16::ZERO,
                    flags_fragment: U16::new(Ipv4Header::DONT_FRAGMENT),
                    ttl: TTL,
                    protocol: PROTOCOL_UDP,
                    checksum: U16::ZERO,
                    src: from.octets(),
                    dst: to.octets(),
                };
                header.checksum = U16::new(checksum::internet(header.as_bytes()));
                put(&mut bytes, ethernet::HEADER_LEN, &header);
                (EtherType::IPV4, Ipv4Header::LEN)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = Ipv6Header {
                    version_class_flow: U32::new(6 << 28),
                    payload_len: U16::ZERO,
                    next_header: PROTOCOL_UDP,
                    hop_limit: TTL,
                    src: from.octets(),
                    dst: to.octets(),
                };
                put(&mut bytes, ethernet::HEADER_LEN, &header);
                (EtherType::IPV6, Ipv6Header::LEN)
            }
            (from, to) => return Err(MixedFamilies(from, to)),
        };
        put(
            &mut bytes,
            0,
            &EthernetHeader { dst: dst_mac, src: src_mac, ethertype: U16::new(ethertype.get()) },
        );
        let udp = UdpHeader {
            src_port: U16::new(src.port()),
            dst_port: U16::new(dst.port()),
            len: U16::ZERO,
            checksum: U16::ZERO,
        };
        put(&mut bytes, ethernet::HEADER_LEN + ip_len, &udp);
        Ok(Self { bytes, src, dst })
    }

    /// The same with this mark in the IP header.
    #[must_use]
    pub fn with_mark(mut self, mark: Mark) -> Self {
        mark.write(&mut self.bytes, ethernet::HEADER_LEN, self.src.is_ipv4());
        self
    }

    /// Where datagrams come from.
    pub fn src(&self) -> SocketAddr {
        self.src
    }

    /// Where datagrams go.
    pub fn dst(&self) -> SocketAddr {
        self.dst
    }

    /// Octets of all the headers.
    pub fn header_len(&self) -> usize {
        ethernet::HEADER_LEN + self.ip_len() + UdpHeader::LEN
    }

    /// Octets of the IP and UDP headers: what they take of an MTU.
    pub fn overhead(&self) -> usize {
        self.ip_len() + UdpHeader::LEN
    }

    /// Puts the headers in front of the payload in `buf`, with `src_port` as the source port. The UDP checksum
    /// stays 0 on IPv4 (RFC 768) and is computed on IPv6 (RFC 8200 8.1). False, with nothing changed, when there is no
    /// headroom or the payload is too long for IP.
    #[must_use]
    pub fn write<B: PacketBuf>(&self, buf: &mut B, src_port: u16) -> bool {
        let udp_at = ethernet::HEADER_LEN + self.ip_len();
        let Ok(udp_len) = u16::try_from(buf.len() + UdpHeader::LEN) else {
            return false;
        };
        let Some(ip_total) = udp_len.checked_add(self.ip_len() as u16) else {
            return false;
        };
        let Some(room) = buf.prepend(self.header_len()) else {
            return false;
        };
        room.copy_from_slice(&self.bytes[..self.header_len()]);
        room[udp_at..][..2].copy_from_slice(&src_port.to_be_bytes());
        room[udp_at + 4..][..2].copy_from_slice(&udp_len.to_be_bytes());
        if self.src.is_ipv4() {
            let template = u16::from_be_bytes([room[IPV4_CHECKSUM], room[IPV4_CHECKSUM + 1]]);
            let updated = checksum::update(template, 0, ip_total);
            room[IPV4_TOTAL_LEN..][..2].copy_from_slice(&ip_total.to_be_bytes());
            room[IPV4_CHECKSUM..][..2].copy_from_slice(&updated.to_be_bytes());
        } else {
            room[IPV6_PAYLOAD_LEN..][..2].copy_from_slice(&udp_len.to_be_bytes());
            let sum = Sum::default()
                .add_pseudo(self.src.ip(), self.dst.ip(), PROTOCOL_UDP, u32::from(udp_len))
                .with(&buf.data()[udp_at..])
                .finish();
            // RFC 8200 8.1: a computed 0 is sent as all ones.
            let sum = if sum == 0 { 0xffff } else { sum };
            buf.data_mut()[udp_at + 6..][..2].copy_from_slice(&sum.to_be_bytes());
        }
        true
    }

    fn ip_len(&self) -> usize {
        if self.src.is_ipv4() { Ipv4Header::LEN } else { Ipv6Header::LEN }
    }
}

fn put<T: IntoBytes + zerocopy::Immutable>(bytes: &mut [u8; MAX_LEN], at: usize, header: &T) {
    bytes[at..at + size_of::<T>()].copy_from_slice(header.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::{BufPool, HeapPool};
    use crate::frame::parse_udp;
    use proptest::prelude::*;

    fn written(src: &str, dst: &str, payload: &[u8], src_port: u16) -> Vec<u8> {
        let template = UdpTemplate::new(
            MacAddr([2, 0, 0, 0, 0, 1]),
            MacAddr([2, 0, 0, 0, 0, 2]),
            src.parse().expect("an address"),
            dst.parse().expect("an address"),
        )
        .expect("one family");
        let mut buf = HeapPool::new(9000).alloc().expect("a buffer");
        buf.append(payload.len()).expect("room").copy_from_slice(payload);
        assert!(template.write(&mut buf, src_port));
        assert_eq!(buf.len(), template.header_len() + payload.len());
        buf.data().to_vec()
    }

    proptest! {
        #[test]
        fn what_is_written_is_found_again(payload in prop::collection::vec(any::<u8>(), 0..2000), port: u16) {
            for (src, dst) in [("192.0.2.1:7", "198.51.100.255:443"), ("[2001:db8::1]:7", "[2001:db8::ffff:2]:443")] {
                let frame = written(src, dst, &payload, port);
                let view = parse_udp(&frame).expect("well-formed").expect("UDP");
                prop_assert_eq!(view.src.port(), port);
                prop_assert_eq!(view.dst.to_string(), dst);
                prop_assert_eq!(&frame[view.payload], &payload[..]);
            }
        }

        #[test]
        fn checksums_are_right(payload in prop::collection::vec(any::<u8>(), 0..2000), port: u16) {
            let v4 = written("192.0.2.1:7", "198.51.100.255:443", &payload, port);
            prop_assert_eq!(checksum::internet(&v4[14..34]), 0);
            let v6 = written("[2001:db8::1]:7", "[2001:db8::ffff:2]:443", &payload, port);
            // RFC 8200 8.1, octet by octet: addresses, length, next header, then the datagram.
            let pseudo = [&v6[22..54], &(v6.len() as u32 - 54).to_be_bytes(), &[0, 0, 0, 17], &v6[54..]].concat();
            prop_assert_eq!(checksum::internet(&pseudo), 0);
        }
    }

    #[test]
    fn families_do_not_mix() {
        let result = UdpTemplate::new(
            MacAddr::default(),
            MacAddr::default(),
            "192.0.2.1:7".parse().expect("an address"),
            "[::1]:7".parse().expect("an address"),
        );
        assert!(result.is_err());
    }
}
