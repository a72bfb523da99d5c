//! What a segment's frames are looked at for, put together from its configuration and the sessions that are up.

use std::net::IpAddr;
use std::sync::Arc;

use bridge::{
    AttachmentIndex, EgressFilter, Endpoint, Neighbours, Policy, SegmentIndex, SessionIndex, StormControl,
    StormLimits,
};
use pipeline::tables::SessionEntry;
use wire::ethernet;
use wire::mac::MacAddr;

use crate::guard::Guard;
use crate::insight::Watch;
use crate::layout::Layout;

/// Octets that a block's header takes (protocol 4.2).
const BLOCK_HEADER: u16 = 4;

/// What a segment's policy is made of.
pub(crate) struct Of<'a> {
    pub(crate) index: SegmentIndex,
    pub(crate) config: &'a config::Segment,
    pub(crate) attachments: &'a [AttachmentIndex],
    /// The sessions that join it, with the MTU that both ends have for it.
    pub(crate) joined: &'a [(SessionIndex, u16)],
    /// All sessions, by number.
    pub(crate) sessions: &'a [Option<SessionEntry>],
    /// The MAC address of the gateway, if its interface could be made.
    pub(crate) gateway: Option<MacAddr>,
    pub(crate) guard: &'a Guard,
    pub(crate) layout: &'a Layout,
    pub(crate) watch: &'a Watch,
    /// The policy that this one follows.
    pub(crate) old: Option<&'a Policy>,
}

pub(crate) fn build(of: &Of<'_>) -> Policy {
    Policy {
        clamp: clamp(of),
        block_unknown: of.config.block_unknown,
        storm: storm(of),
        egress: egress(of),
        neighbours: if of.config.arp_suppression { Neighbours::Answered } else { Neighbours::Unseen },
        captured: of.watch.captures(of.index),
        own: of.watch.own(of.index),
        asks_as: of.guard.mac().into(),
        reflections: of.guard.reflections(of.attachments),
    }
}

/// The largest IP packet of a TCP segment that goes through the tunnel: what the segment's MTU leaves room for at both ends, and
/// one record of each path.
fn clamp(of: &Of<'_>) -> u16 {
    if !of.config.mss_clamp {
        return 0;
    }
    let joined = |(at, both): &(SessionIndex, u16)| {
        let paths =
            of.sessions.get(usize::from(at.0))?.as_ref()?.paths.iter().filter_map(|path| path.path.as_ref());
        let around = record::OVERHEAD as u16 + BLOCK_HEADER + ethernet::HEADER_LEN as u16;
        let room = paths.map(|path| path.max_record).min()?.saturating_sub(around);
        // Jumbo frames are worth more than records with one frame each.
        Some(if *both > 2 * room { *both } else { room.min(*both) })
    };
    of.joined.iter().filter_map(joined).fold(of.config.mtu, u16::min)
}

fn storm(of: &Of<'_>) -> Option<Arc<StormControl>> {
    let config = of.config.storm?;
    let limits = StormLimits {
        broadcast: config.broadcast,
        multicast: config.multicast,
        unknown_unicast: config.unknown_unicast,
    };
    let attachments = of.attachments.iter().copied().map(Endpoint::Attachment);
    let sides: Vec<Endpoint> =
        attachments.chain(of.joined.iter().map(|(session, _)| Endpoint::Session(*session))).collect();
    // The same budgets, if nothing about them has changed.
    let old = of.old.and_then(|policy| policy.storm.as_ref()).filter(|old| old.is_for(limits, &sides));
    Some(old.cloned().unwrap_or_else(|| Arc::new(StormControl::new(limits, sides))))
}

fn egress(of: &Of<'_>) -> Option<EgressFilter> {
    let gateway = of.config.gateway.as_ref()?;
    let here = |segment: &usize| of.layout.segment_index(*segment) == Some(of.index);
    let of_site = |(session, site): (SessionIndex, &'_ config::Site)| {
        let addresses = site.egress.iter().filter(|(segment, _)| here(segment));
        addresses.map(|(_, address)| (*address, session)).collect::<Vec<_>>()
    };
    egress_filter(&gateway.egress, of.layout.sites().flat_map(of_site), of.gateway)
}

/// What is kept local, towards all sites and towards one. It does not depend on the gateway's interface: where that could not be made
/// hosts have no gateway, which is better than another site's.
fn egress_filter(
    everywhere: &[IpAddr],
    of_sites: impl Iterator<Item = (IpAddr, SessionIndex)>,
    interface: Option<MacAddr>,
) -> Option<EgressFilter> {
    let mut filter = EgressFilter::new(interface.map(Into::into));
    everywhere.iter().for_each(|address| filter.keep(*address, None));
    of_sites.for_each(|(address, session)| filter.keep(address, Some(session)));
    (!filter.is_empty()).then_some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::arp::ArpPacket;

    #[test]
    fn what_is_kept_local_is_so_without_the_interface() {
        let (host, interface) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 0xfe]));
        let (gateway, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (all, one) = (SessionIndex(0), SessionIndex(1));
        let asks = |target: [u8; 4]| {
            let arp = ArpPacket::new(
                ArpPacket::REQUEST,
                (host, [10, 0, 0, 9].into()),
                (MacAddr::default(), target.into()),
            );
            [&[8, 6][..], &arp.to_bytes()].concat()
        };
        for mac in [None, Some(interface)] {
            let filter =
                egress_filter(&[gateway.into()], [(other.into(), one)].into_iter(), mac).expect("one");
            let stops = |session, target| {
                filter.stops(session, MacAddr::BROADCAST.into(), host.into(), &asks(target))
            };
            assert!(stops(all, gateway) && stops(one, gateway) && stops(one, other) && !stops(all, other));
            assert_eq!(filter.stops(all, interface.into(), host.into(), &[8, 0]), mac.is_some());
        }
        assert!(egress_filter(&[], std::iter::empty(), Some(interface)).is_none());
    }
}
