//! Finds the headers of a frame: Ethernet, VLAN tags, IP, and what IP carries, through VXLAN when asked to.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use wire::checksum::Sum;
use wire::ethernet::{self, EtherType};
use wire::ip::{Ipv4Header, Ipv6Header, PROTOCOL_TCP, PROTOCOL_UDP, UdpHeader};
use zerocopy::FromBytes;

/// VLAN tags that are looked through.
const MAX_TAGS: usize = 2;

/// IPv6 extension headers that are looked through.
const MAX_EXTENSIONS: usize = 4;

/// An IP header in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ip {
    /// Where it starts.
    pub(crate) at: usize,
    pub(crate) v6: bool,
    /// Octets of it, options or extension headers included.
    pub(crate) len: usize,
    pub(crate) protocol: u8,
}

/// The headers from the outermost to the transport header that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    /// One, or the underlay's and the inner one.
    pub(crate) ips: ArrayVec<Ip, 2>,
    /// Where the underlay's UDP header starts, if there is one.
    pub(crate) outer_udp: Option<usize>,
    /// Where the transport header starts.
    pub(crate) transport: usize,
}

impl Layers {
    /// The IP header that the transport header belongs to.
    pub(crate) fn inner(&self) -> Ip {
        self.ips[self.ips.len() - 1]
    }
}

/// The headers of `frame` up to the transport header at `wanted`, or, when none is wanted, up to the first.
pub(crate) fn find(frame: &[u8], wanted: Option<usize>) -> Option<Layers> {
    let outer = ip(frame, 0)?;
    let transport = outer.at + outer.len;
    let mut ips = ArrayVec::new();
    ips.push(outer);
    match wanted {
        Some(wanted) if wanted > transport && outer.protocol == PROTOCOL_UDP => {
            let inner = ip(frame, transport + UdpHeader::LEN + wire::vxlan::HEADER_LEN)?;
            ips.push(inner);
            let transport_of_inner = inner.at + inner.len;
            (wanted == transport_of_inner).then_some(Layers {
                ips,
                outer_udp: Some(transport),
                transport: transport_of_inner,
            })
        }
        Some(wanted) if wanted != transport => None,
        _ => Some(Layers { ips, outer_udp: None, transport }),
    }
}

/// The IP header of the Ethernet frame that starts at `at`.
fn ip(frame: &[u8], at: usize) -> Option<Ip> {
    let mut at = at + ethernet::HEADER_LEN;
    for _ in 0..=MAX_TAGS {
        let ethertype = u16::from_be_bytes(*frame.get(at.checked_sub(2)?..)?.first_chunk()?);
        match EtherType::new(ethertype) {
            EtherType::VLAN | EtherType::SERVICE_VLAN => at += wire::vlan::TAG_LEN,
            EtherType::IPV4 => return ipv4(frame, at),
            EtherType::IPV6 => return ipv6(frame, at),
            _ => return None,
        }
    }
    None
}

fn ipv4(frame: &[u8], at: usize) -> Option<Ip> {
    let (header, _) = Ipv4Header::ref_from_prefix(frame.get(at..)?).ok()?;
    let len = header.header_len();
    let fits = header.version_ihl >> 4 == 4 && len >= Ipv4Header::LEN && at + len <= frame.len();
    (fits && !header.is_fragment()).then_some(Ip { at, v6: false, len, protocol: header.protocol })
}

fn ipv6(frame: &[u8], at: usize) -> Option<Ip> {
    const HOP_BY_HOP: u8 = 0;
    const DESTINATION: u8 = 60;
    let (header, _) = Ipv6Header::ref_from_prefix(frame.get(at..)?).ok()?;
    if header.version_class_flow.get() >> 28 != 6 {
        return None;
    }
    let (mut len, mut next) = (Ipv6Header::LEN, header.next_header);
    for _ in 0..MAX_EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | DESTINATION) {
            return Some(Ip { at, v6: true, len, protocol: next });
        }
        let [following, eights] = *frame.get(at + len..)?.first_chunk()?;
        next = following;
        len += 8 * (usize::from(eights) + 1);
    }
    None
}

/// The checksum of the pseudo-header of the `len` octets behind `ip` (RFC 768, RFC 9293 3.1, RFC 8200 8.1), not complemented.
pub(crate) fn pseudo_header(frame: &[u8], ip: Ip, len: usize) -> Sum {
    let addresses = if ip.v6 {
        let octets = |at: usize| frame[ip.at + at..].first_chunk::<16>().copied().unwrap_or_default();
        (IpAddr::from(octets(8)), IpAddr::from(octets(24)))
    } else {
        let octets = |at: usize| frame[ip.at + at..].first_chunk::<4>().copied().unwrap_or_default();
        (IpAddr::from(octets(12)), IpAddr::from(octets(16)))
    };
    Sum::default().add_pseudo(addresses.0, addresses.1, ip.protocol, len as u32)
}

/// Writes `ip`'s length field for a frame whose packet ends at `end`, and for IPv4 the header checksum.
pub(crate) fn set_ip_len(frame: &mut [u8], ip: Ip, end: usize) {
    let at = ip.at;
    if ip.v6 {
        let len = (end - at - Ipv6Header::LEN) as u16;
        frame[at + 4..at + 6].copy_from_slice(&len.to_be_bytes());
    } else {
        let len = (end - at) as u16;
        frame[at + 2..at + 4].copy_from_slice(&len.to_be_bytes());
        frame[at + 10..at + 12].fill(0);
        let sum = wire::checksum::internet(&frame[at..at + ip.len]);
        frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Whether `protocol` is TCP or UDP, and where its checksum stands in its header.
pub(crate) fn checksum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        PROTOCOL_TCP => Some(16),
        PROTOCOL_UDP => Some(6),
        _ => None,
    }
}
