//! Questions and answers about who has an address, as they stand in frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::arp::ArpPacket;
use wire::checksum::Sum;
use wire::ethernet::EtherType;
use wire::inner::inner;
use wire::mac::MacAddr;
use wire::nd::{Message, NdPacket, PROTOCOL_ICMPV6};

/// What a frame says of neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Somebody asks where an address is, and says where it is itself.
    Asks {
        /// Its own address.
        asker: IpAddr,
        /// The address that it asks for.
        target: IpAddr,
    },
    /// Somebody tells that it has an address.
    Tells {
        /// The address.
        address: IpAddr,
        /// Whether it is a router, where it says so.
        router: Option<bool>,
    },
}

/// What a frame says, given from its EtherType on; `None` when that is nothing, or cannot be relied on: addresses that are just being tested
/// (RFC 5227, RFC 4862 5.4), and who speaks for another.
pub(super) fn hear(src: MacAddr, rest: &[u8]) -> Option<Heard> {
    let found = inner(rest)?;
    let packet = rest.get(found.start..)?;
    match found.ethertype {
        EtherType::ARP => {
            let arp = ArpPacket::parse(packet)?;
            let (asker, target) = (arp.sender(), arp.target());
            if !is_host(asker.into()) || arp.sender_mac != src {
                return None;
            }
            Some(match arp.operation.get() {
                ArpPacket::REQUEST if asker != target => {
                    Heard::Asks { asker: asker.into(), target: target.into() }
                }
                ArpPacket::REQUEST | ArpPacket::REPLY => {
                    Heard::Tells { address: asker.into(), router: Some(false) }
                }
                _ => return None,
            })
        }
        EtherType::IPV6 => {
            let nd = NdPacket::parse(packet)?;
            if nd.mac.is_some_and(|mac| mac != src) {
                return None;
            }
            match nd.message {
                Message::Solicitation { target } if is_host(nd.source.into()) => {
                    Some(Heard::Asks { asker: nd.source.into(), target: target.into() })
                }
                Message::Advertisement { target } if is_host(target.into()) => {
                    Some(Heard::Tells { address: target.into(), router: Some(nd.router) })
                }
                Message::RouterAdvertisement if is_host(nd.source.into()) => {
                    Some(Heard::Tells { address: nd.source.into(), router: Some(true) })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// What the host with `address` and `mac` answers to who asked, from its EtherType on.
pub(super) fn answer(
    (address, mac, router): (IpAddr, MacAddr, bool),
    (asker, asker_mac): (IpAddr, MacAddr),
) -> Option<Vec<u8>> {
    match (address, asker) {
        (IpAddr::V4(address), IpAddr::V4(asker)) => {
            Some(arp(ArpPacket::new(ArpPacket::REPLY, (mac, address), (asker_mac, asker))))
        }
        (IpAddr::V6(address), IpAddr::V6(asker)) => {
            // RFC 4861 4.4: router, solicited; no override, since we speak for another (7.2.8).
            let flags = if router { 0xc0 } else { 0x40 };
            Some(neighbour(136, flags, (address, asker), address, (2, mac)))
        }
        _ => None,
    }
}

/// A question to the host with this address, from the appliance itself, which has no address: from its EtherType on.
pub(super) fn question(own: MacAddr, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let nobody = (own, Ipv4Addr::UNSPECIFIED);
            arp(ArpPacket::new(ArpPacket::REQUEST, nobody, (MacAddr::default(), address)))
        }
        IpAddr::V6(address) => neighbour(135, 0, (link_local(own), address), address, (1, own)),
    }
}

fn arp(packet: ArpPacket) -> Vec<u8> {
    [&EtherType::ARP.get().to_be_bytes()[..], &packet.to_bytes()].concat()
}

fn neighbour(
    kind: u8,
    flags: u8,
    (from, to): (Ipv6Addr, Ipv6Addr),
    target: Ipv6Addr,
    (option, mac): (u8, MacAddr),
) -> Vec<u8> {
    let mut icmp = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    icmp.extend(target.octets());
    icmp.extend([option, 1]);
    icmp.extend(mac.0);
    let length = icmp.len() as u16;
    let sum = Sum::default().add_pseudo(from.into(), to.into(), PROTOCOL_ICMPV6, u32::from(length));
    let checksum = sum.with(&icmp).finish().to_be_bytes();
    icmp[2..4].copy_from_slice(&checksum);
    let mut rest = EtherType::IPV6.get().to_be_bytes().to_vec();
    rest.extend([0x60, 0, 0, 0]);
    rest.extend(length.to_be_bytes());
    rest.extend([PROTOCOL_ICMPV6, 255]);
    rest.extend(from.octets());
    rest.extend(to.octets());
    rest.extend(icmp);
    rest
}

/// RFC 4291 Appendix A.
fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

/// Whether an address can be that of one host.
fn is_host(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn answers_say_what_the_host_would() {
        for (address, asker, router) in [("10.0.0.1", "10.0.0.2", false), ("fd00::1", "fd00::2", true)] {
            let rest = answer((ip(address), A, router), (ip(asker), B)).expect("one family");
            assert_eq!(hear(A, &rest), Some(Heard::Tells { address: ip(address), router: Some(router) }));
            assert_eq!(hear(B, &rest), None, "B does not speak for A");
        }
        assert_eq!(answer((ip("10.0.0.1"), A, false), (ip("fd00::1"), B)), None);
    }

    #[test]
    fn our_questions_are_nobodys_announcements() {
        let v4 = question(A, ip("10.0.0.9"));
        assert_eq!(hear(A, &v4), None, "an ARP probe");
        let v6 = question(A, ip("fd00::9"));
        let asker = ip("fe80::ff:fe00:1");
        assert_eq!(hear(A, &v6), Some(Heard::Asks { asker, target: ip("fd00::9") }));
        let packet = &v6[2..];
        let sum = Sum::default()
            .add_pseudo(asker, ip("fd00::9"), PROTOCOL_ICMPV6, packet.len() as u32 - 40)
            .with(&packet[40..]);
        assert_eq!(sum.finish(), 0, "its checksum is right");
    }

    #[test]
    fn addresses_of_no_host_are_not_believed() {
        for sender in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1"] {
            let IpAddr::V4(sender) = ip(sender) else { panic!("IPv4") };
            let packet = ArpPacket::new(ArpPacket::REPLY, (A, sender), (B, Ipv4Addr::new(10, 0, 0, 2)));
            assert_eq!(hear(A, &arp(packet)), None, "{sender}");
        }
    }
}
