//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet::EtherType;
use crate::mac::MacAddr;

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ArpPacket {
    hardware: U16,
    protocol: U16,
    hardware_len: u8,
    protocol_len: u8,
    /// 1: request, 2: reply.
    pub operation: U16,
    /// Who sends.
    pub sender_mac: MacAddr,
    sender_ip: [u8; 4],
    /// Whom it is for; zeros in a request.
    pub target_mac: MacAddr,
    target_ip: [u8; 4],
}

impl ArpPacket {
    /// Octets of a packet.
    pub const LEN: usize = 28;
    /// Operation: who has the target's address?
    pub const REQUEST: u16 = 1;
    /// Operation: the sender has the sender's address.
    pub const REPLY: u16 = 2;

    /// The packet at the start of `bytes`; `None` when it is not one for IPv4 over Ethernet.
    pub fn parse(bytes: &[u8]) -> Option<&Self> {
        let (packet, _) = Self::ref_from_prefix(bytes).ok()?;
        let known = packet.hardware.get() == 1
            && packet.protocol.get() == EtherType::IPV4.get()
            && (packet.hardware_len, packet.protocol_len) == (6, 4);
        known.then_some(packet)
    }

    /// A packet with these parties.
    pub fn new(operation: u16, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Self {
        Self {
            hardware: U16::new(1),
            protocol: U16::new(EtherType::IPV4.get()),
            hardware_len: 6,
            protocol_len: 4,
            operation: U16::new(operation),
            sender_mac: sender.0,
            sender_ip: sender.1.octets(),
            target_mac: target.0,
            target_ip: target.1.octets(),
        }
    }

    /// Its octets.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes.copy_from_slice(self.as_bytes());
        bytes
    }

    /// The sender's address; unspecified in a probe (RFC 5227 1.1).
    pub fn sender(&self) -> Ipv4Addr {
        self.sender_ip.into()
    }

    /// The address that is asked for, or told.
    pub fn target(&self) -> Ipv4Addr {
        self.target_ip.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_round_trip_and_others_are_none() {
        let parties = |n| (MacAddr([2, 0, 0, 0, 0, n]), Ipv4Addr::new(10, 0, 0, n));
        let packet = ArpPacket::new(ArpPacket::REQUEST, parties(1), parties(2));
        let bytes = packet.as_bytes();
        assert_eq!(bytes.len(), ArpPacket::LEN);
        assert_eq!(ArpPacket::parse(bytes), Some(&packet));
        assert_eq!((packet.sender(), packet.target()), (parties(1).1, parties(2).1));
        assert_eq!(ArpPacket::parse(&bytes[..27]), None);
        for at in [1, 2, 4, 5] {
            let mut other = bytes.to_vec();
            other[at] ^= 0x40;
            assert_eq!(ArpPacket::parse(&other), None, "octet {at}");
        }
    }
}
