//! Neighbour discovery for IPv6 (RFC 4861), as far as a bridge has to understand it.

use std::net::Ipv6Addr;

use zerocopy::FromBytes;

use crate::ip::Ipv6Header;
use crate::mac::MacAddr;

/// Protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

/// Octets of a solicitation or advertisement up to the end of its target.
const TARGET_END: usize = 24;

/// Option: the sender's link-layer address (RFC 4861 4.6.1).
const SOURCE_ADDRESS: u8 = 1;
/// Option: the target's link-layer address.
const TARGET_ADDRESS: u8 = 2;

/// The flag of an advertisement that says that the target is a router (RFC 4861 4.4).
const ROUTER_FLAG: u8 = 0x80;

/// A message of neighbour discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A host asks for routers.
    RouterSolicitation,
    /// A router tells that it is there.
    RouterAdvertisement,
    /// Who has the target?
    Solicitation {
        /// The address that is asked for.
        target: Ipv6Addr,
    },
    /// The target is here.
    Advertisement {
        /// Whose address it is.
        target: Ipv6Addr,
    },
}

/// A message with who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdPacket {
    /// The sender; unspecified while it makes sure of its address (RFC 4862 5.4).
    pub source: Ipv6Addr,
    /// What it says.
    pub message: Message,
    /// The link-layer address that its option tells: the sender's in solicitations, the target's in an advertisement.
    pub mac: Option<MacAddr>,
    /// In an advertisement: whether the target is a router. In a router advertisement: yes.
    pub router: bool,
}

impl NdPacket {
    /// The message in an IPv6 packet; `None` when it holds something else. Checksums are the hosts' to verify.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (header, rest) = Ipv6Header::ref_from_prefix(packet).ok()?;
        // RFC 4861 6.1, 7.1: a hop limit of 255 proves that no router forwarded it.
        if header.next_header != PROTOCOL_ICMPV6 || header.hop_limit != 255 {
            return None;
        }
        let icmp = rest.get(..usize::from(header.payload_len.get()))?;
        let target = || {
            let octets: [u8; 16] = icmp.get(8..TARGET_END)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets))
        };
        let (message, kind, options) = match icmp.first()? {
            133 => (Message::RouterSolicitation, SOURCE_ADDRESS, 8),
            134 => (Message::RouterAdvertisement, SOURCE_ADDRESS, 16),
            135 => (Message::Solicitation { target: target()? }, SOURCE_ADDRESS, TARGET_END),
            136 => (Message::Advertisement { target: target()? }, TARGET_ADDRESS, TARGET_END),
            _ => return None,
        };
        let router = match message {
            Message::RouterAdvertisement => true,
            Message::Advertisement { .. } => icmp.get(4).is_some_and(|flags| flags & ROUTER_FLAG != 0),
            Message::RouterSolicitation | Message::Solicitation { .. } => false,
        };
        let mac = option(icmp.get(options..).unwrap_or_default(), kind);
        Some(Self { source: header.source(), message, mac, router })
    }
}

/// The link-layer address in the first option of this kind.
fn option(mut options: &[u8], kind: u8) -> Option<MacAddr> {
    while let [found, length, ..] = options {
        let length = usize::from(*length) * 8;
        if length == 0 || length > options.len() {
            return None;
        }
        if *found == kind {
            return options.get(2..8)?.try_into().ok().map(MacAddr);
        }
        options = &options[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(icmp: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, icmp.len() as u8, PROTOCOL_ICMPV6, 255];
        packet.extend([0xfe; 16]);
        packet.extend([0xff; 16]);
        packet.extend(icmp);
        packet
    }

    fn with_target(kind: u8, options: &[u8]) -> Vec<u8> {
        packet(&[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[7; 16], options].concat())
    }

    #[test]
    fn each_message_is_recognised() {
        let target = Ipv6Addr::from([7; 16]);
        let read = |bytes: &[u8]| NdPacket::parse(bytes).map(|found| (found.message, found.mac));
        assert_eq!(
            read(&with_target(135, &[1, 1, 2, 0, 0, 0, 0, 9])),
            Some((Message::Solicitation { target }, Some(MacAddr([2, 0, 0, 0, 0, 9]))))
        );
        assert_eq!(
            read(&with_target(136, &[14, 1, 0, 0, 0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 9])),
            Some((Message::Advertisement { target }, Some(MacAddr([2, 0, 0, 0, 0, 9]))))
        );
        assert_eq!(read(&packet(&[133, 0, 0, 0, 0, 0, 0, 0])), Some((Message::RouterSolicitation, None)));
        assert_eq!(read(&packet(&[134; 16])), Some((Message::RouterAdvertisement, None)));
        assert_eq!(read(&packet(&[128; 16])), None, "a ping");
        let mut forwarded = with_target(135, &[]);
        forwarded[7] = 254;
        assert_eq!(read(&forwarded), None);
    }

    proptest! {
        #[test]
        fn random_octets_do_not_panic(kind in 130..138u8, icmp: Vec<u8>, cut: prop::sample::Index) {
            let bytes = packet(&[&[kind][..], &icmp[..icmp.len().min(200)]].concat());
            let _ = NdPacket::parse(&bytes[..cut.index(bytes.len())]);
            let _ = NdPacket::parse(&bytes);
        }
    }
}
