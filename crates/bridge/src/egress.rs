//! The egress filter: each site has a gateway with the same IP address, and hosts always reach the one of their own site
//! (local egress optimization). So nothing that resolves or announces the address crosses the tunnel, and no frame to or from
//! the local gateway does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::arp::ArpPacket;
use wire::ethernet::EtherType;
use wire::inner::inner;
use wire::mac::MacBits;
use wire::nd::{Message, NdPacket};

use crate::SessionIndex;

/// The gateways of one segment that every site has for itself.
#[derive(Clone, Debug, Default)]
pub struct EgressFilter {
    /// The MAC address of the local gateway.
    gateway: Option<MacBits>,
    /// Towards every site.
    everywhere: Addresses,
    /// Towards one site, beside those.
    sites: HashMap<SessionIndex, Addresses>,
}

#[derive(Clone, Debug, Default)]
struct Addresses {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl Addresses {
    fn add(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.v4.push(address),
            IpAddr::V6(address) => self.v6.push(address),
        }
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl EgressFilter {
    /// The filter for a local gateway with the MAC address `gateway`, if it has one at present; addresses are to be added, and are kept
    /// local in any case.
    pub fn new(gateway: Option<MacBits>) -> Self {
        Self { gateway, ..Self::default() }
    }

    /// Keeps `address` local towards one site, or all.
    pub fn keep(&mut self, address: IpAddr, site: Option<SessionIndex>) {
        match site {
            None => self.everywhere.add(address),
            Some(site) => self.sites.entry(site).or_default().add(address),
        }
    }

    /// Whether it keeps anything.
    pub fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.sites.is_empty()
    }

    /// Whether a frame must not cross this session, in either direction. `rest` is the frame from its EtherType on.
    pub fn stops(&self, session: SessionIndex, dst: MacBits, src: MacBits, rest: &[u8]) -> bool {
        let of_site = self.sites.get(&session);
        if self.everywhere.is_empty() && of_site.is_none() {
            return false;
        }
        if self.gateway.is_some_and(|gateway| gateway == dst || gateway == src) {
            return true;
        }
        let lists = [Some(&self.everywhere), of_site];
        let Some(found) = inner(rest) else { return false };
        let packet = &rest[found.start.min(rest.len())..];
        match found.ethertype {
            EtherType::ARP => ArpPacket::parse(packet).is_some_and(|arp| {
                let keeps =
                    |list: &Addresses| list.v4.contains(&arp.sender()) || list.v4.contains(&arp.target());
                lists.into_iter().flatten().any(keeps)
            }),
            EtherType::IPV6 => NdPacket::parse(packet).is_some_and(|nd| {
                lists.into_iter().flatten().any(|list| match nd.message {
                    // Routers are found by these: each site has its own.
                    Message::RouterSolicitation | Message::RouterAdvertisement => !list.v6.is_empty(),
                    Message::Solicitation { target } | Message::Advertisement { target } => {
                        list.v6.contains(&target) || list.v6.contains(&nd.source)
                    }
                })
            }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::mac::MacAddr;

    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
    const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const SITE: SessionIndex = SessionIndex(0);
    const OTHER_SITE: SessionIndex = SessionIndex(1);

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn ip6(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
    }

    fn filter() -> EgressFilter {
        let mut filter = EgressFilter::new(Some(OURS.into()));
        filter.keep(ip(254).into(), None);
        filter.keep(ip(253).into(), Some(OTHER_SITE));
        filter.keep(ip6(254).into(), None);
        filter
    }

    fn arp(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let packet = ArpPacket::new(ArpPacket::REQUEST, (HOST, sender), (MacAddr::default(), target));
        [&[8, 6][..], &packet.to_bytes()].concat()
    }

    fn nd(source: Ipv6Addr, kind: u8, target: Ipv6Addr) -> Vec<u8> {
        let mut rest = vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255];
        rest.extend(source.octets());
        rest.extend([0xff; 16]);
        rest.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
        rest.extend(target.octets());
        rest
    }

    fn stops(session: SessionIndex, rest: &[u8]) -> bool {
        filter().stops(session, MacAddr::BROADCAST.into(), HOST.into(), rest)
    }

    #[test]
    fn arp_for_the_gateway_stays_and_other_arp_crosses() {
        assert!(stops(SITE, &arp(ip(1), ip(254))), "request");
        assert!(stops(SITE, &arp(ip(254), ip(1))), "reply, or the gateway asks");
        assert!(stops(SITE, &arp(ip(254), ip(254))), "gratuitous");
        assert!(stops(SITE, &arp(Ipv4Addr::UNSPECIFIED, ip(254))), "probe");
        assert!(!stops(SITE, &arp(ip(1), ip(2))));
        let tagged = [&[0x81, 0, 0xe0, 0][..], &arp(ip(1), ip(254))].concat();
        assert!(stops(SITE, &tagged), "with a priority tag");
    }

    #[test]
    fn neighbour_discovery_for_the_gateway_stays() {
        for (kind, source, target, stays) in [
            (135, ip6(1), ip6(254), true),
            (135, Ipv6Addr::UNSPECIFIED, ip6(254), true),
            (136, ip6(254), ip6(254), true),
            (135, ip6(254), ip6(1), true),
            (135, ip6(1), ip6(2), false),
            (133, ip6(1), ip6(0), true),
            (134, ip6(1), ip6(0), true),
            (128, ip6(1), ip6(254), false),
        ] {
            assert_eq!(stops(SITE, &nd(source, kind, target)), stays, "{kind} {source} {target}");
        }
    }

    #[test]
    fn a_sites_own_list_holds_for_that_site_only() {
        assert!(!stops(SITE, &arp(ip(1), ip(253))));
        assert!(stops(OTHER_SITE, &arp(ip(1), ip(253))));
        let mut only_one = EgressFilter::new(Some(OURS.into()));
        only_one.keep(ip(253).into(), Some(OTHER_SITE));
        assert!(
            !only_one.stops(SITE, OURS.into(), HOST.into(), &[8, 0]),
            "no address is kept from this site"
        );
    }

    #[test]
    fn frames_of_the_local_gateway_stay() {
        let ipv4 = [8, 0, 0x45, 0];
        let stops = |dst: MacAddr, src: MacAddr| filter().stops(SITE, dst.into(), src.into(), &ipv4);
        assert!(stops(OURS, HOST));
        assert!(stops(HOST, OURS));
        assert!(!stops(OTHER, HOST));
    }
}
