//! What a filter can ask of a frame.

use std::net::IpAddr;

use wire::ethernet::{EtherType, HEADER_LEN, tag_at};
use wire::ip::{Ipv4Header, Ipv6Header, PROTOCOL_TCP, PROTOCOL_UDP};
use wire::mac::MacAddr;
use wire::vlan::TAG_LEN;
use zerocopy::FromBytes;

use wire::arp::ArpPacket;

/// Tags that are looked behind.
const TAGS: usize = 3;

/// The fields of a frame, as far as it has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Octets of the whole frame.
    pub len: usize,
    /// Destination address.
    pub dst: Option<MacAddr>,
    /// Source address.
    pub src: Option<MacAddr>,
    /// VLAN IDs, the outermost first.
    pub vlans: [Option<u16>; TAGS],
    /// The EtherType behind the tags.
    pub ethertype: Option<u16>,
    /// Network addresses, source and destination; those of ARP are its sender and target.
    pub ip: Option<(IpAddr, IpAddr)>,
    /// What the IP packet carries.
    pub protocol: Option<u8>,
    /// Ports of TCP or UDP, source and destination.
    pub ports: Option<(u16, u16)>,
}

impl Fields {
    /// Reads the first octets of a frame of `len` octets. What is cut off or malformed is missing.
    pub fn of(frame: &[u8], len: usize) -> Self {
        let mut fields = Self { len, ..Self::default() };
        if let Some((dst, src)) = wire::ethernet::addresses(frame) {
            (fields.dst, fields.src) = (Some(dst), Some(src));
            fields.behind_addresses(frame);
        }
        fields
    }

    fn behind_addresses(&mut self, frame: &[u8]) -> Option<()> {
        let mut at = HEADER_LEN - 2;
        for vlan in &mut self.vlans {
            let Some(tag) = tag_at(frame, at) else { break };
            *vlan = Some(tag.vid());
            at += TAG_LEN;
        }
        let ethertype = u16::from_be_bytes(*frame.get(at..)?.first_chunk()?);
        self.ethertype = Some(ethertype);
        let packet = &frame[at + 2..];
        match EtherType::new(ethertype) {
            EtherType::ARP => {
                let arp = ArpPacket::parse(packet)?;
                self.ip = Some((arp.sender().into(), arp.target().into()));
            }
            EtherType::IPV4 => {
                let (header, _) = Ipv4Header::ref_from_prefix(packet).ok()?;
                self.ip = Some((header.source().into(), header.destination().into()));
                self.protocol = Some(header.protocol);
                let first = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff == 0;
                if first {
                    self.transport(packet.get(header.header_len()..)?);
                }
            }
            EtherType::IPV6 => {
                let (header, payload) = Ipv6Header::ref_from_prefix(packet).ok()?;
                self.ip = Some((header.source().into(), header.destination().into()));
                self.protocol = Some(header.next_header);
                self.transport(payload);
            }
            _ => {}
        }
        Some(())
    }

    fn transport(&mut self, segment: &[u8]) {
        if matches!(self.protocol, Some(PROTOCOL_TCP | PROTOCOL_UDP)) {
            if let Some([a, b, c, d]) = segment.first_chunk() {
                self.ports = Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])));
            }
        }
    }
}
