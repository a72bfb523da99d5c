//! What a segment's frames are looked at for, put together from its configuration and the sessions that are up.

use std::collections::HashSet;
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

/// The segment's limits for each attachment and site, or the site's own. Who is away for a moment finds what is left of its budget
/// when it comes back.
fn storm(of: &Of<'_>) -> Option<Arc<StormControl>> {
    let old = of.old.and_then(|policy| policy.storm.as_ref());
    let layout = of.layout;
    let attachment = |at: &AttachmentIndex| {
        let meeting = layout.attachment_places().get(usize::from(at.0)).copied().flatten();
        meeting.is_some_and(|meeting| meeting.segment == of.index)
    };
    let configured = |side: &Endpoint| match side {
        Endpoint::Attachment(at) | Endpoint::Vtep(at, _) => attachment(at),
        Endpoint::Session(at) => layout.has_session(*at),
    };
    let attachments = of.attachments.iter().copied().map(Endpoint::Attachment);
    let mut sides: Vec<Endpoint> =
        attachments.chain(of.joined.iter().map(|(session, _)| Endpoint::Session(*session))).collect();
    let here: HashSet<Endpoint> = sides.iter().copied().collect();
    sides.extend(
        old.iter().flat_map(|old| old.sides()).filter(|side| !here.contains(side) && configured(side)),
    );
    let limits = |side| limits_of(of.config.storm, layout, side);
    let sides: Vec<(Endpoint, StormLimits)> =
        sides.into_iter().filter_map(|side| Some((side, limits(side)?))).collect();
    if sides.is_empty() {
        return None;
    }
    match old {
        Some(old) if old.is_for(&sides) => Some(Arc::clone(old)),
        Some(old) => Some(Arc::new(StormControl::new(sides).after(old))),
        None => Some(Arc::new(StormControl::new(sides))),
    }
}

/// What one side of a segment with these limits may send; `None`: as much as it likes.
fn limits_of(segment: config::StormLimits, layout: &Layout, side: Endpoint) -> Option<StormLimits> {
    let site = match side {
        Endpoint::Session(at) => layout.site(at),
        _ => None,
    };
    let config::StormLimits { broadcast, multicast, unknown_unicast } =
        site.map_or(segment, |site| site.storm.within(segment));
    let limits = StormLimits { broadcast, multicast, unknown_unicast };
    (limits != StormLimits::default()).then_some(limits)
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
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use bridge::Flooded;
    use config::Config;
    use wire::arp::ArpPacket;

    /// The policy of a segment with one attachment that the sites `own` (number 0) and `plain` (1) may join, and whether so many of 20
    /// broadcasts pass it that come from one side at once.
    struct Storms {
        layout: Layout,
        guard: Guard,
        policy: Policy,
    }

    impl Storms {
        fn new(segment: &str, own: &str) -> Self {
            let site = |user: &str, more: &str| {
                format!(
                    "[[server.site]]\nuser = {user:?}\nverifier = \"SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA\"\n{more}\n"
                )
            };
            let text = format!(
                "mode = \"server\"\n[[port]]\nname = \"trunk0\"\nrole = \"trunk\"\ndevice = \"kernel:eth1\"\n\
                 [[port]]\nname = \"wan\"\nrole = \"uplink\"\ndevice = \"kernel:eth0\"\n\
                 [server]\ncertificate = \"server.crt\"\nkey = \"server.key\"\n{}{}\
                 [[segment]]\nname = \"servers\"\ntunnel_id = 10\n{segment}\n\
                 [[segment.attachment]]\nport = \"trunk0\"\nvlan = 10\n",
                site("own", own),
                site("plain", "")
            );
            let config = Config::parse(Path::new("a.toml"), &text).expect("good");
            let guard = Guard::new(&config);
            let layout = Layout::new(config, Duration::ZERO).expect("there is room");
            Self { layout, guard, policy: Policy::default() }
        }

        /// The tables are built anew while these sites have joined.
        fn join(&mut self, sites: &[u16]) {
            let joined: Vec<_> = sites.iter().map(|site| (SessionIndex(*site), 1500)).collect();
            self.policy = build(&Of {
                index: SegmentIndex(0),
                config: &self.layout.config().segments[0],
                attachments: &[AttachmentIndex(0)],
                joined: &joined,
                sessions: &[],
                gateway: None,
                guard: &self.guard,
                layout: &self.layout,
                watch: &Watch::default(),
                old: Some(&self.policy),
            });
        }

        fn passed(&self, from: Endpoint) -> usize {
            let storm = self.policy.storm.as_ref().expect("there are limits");
            (0..20).filter(|_| storm.allows(from.into(), Flooded::Broadcast, Duration::from_secs(1))).count()
        }
    }

    const LAN: Endpoint = Endpoint::Attachment(AttachmentIndex(0));
    const OWN: Endpoint = Endpoint::Session(SessionIndex(0));
    const PLAIN: Endpoint = Endpoint::Session(SessionIndex(1));

    #[test]
    fn each_side_has_the_segment_s_limits_and_a_site_its_own_if_it_has_some() {
        let mut storms =
            Storms::new("storm_control = { broadcast = 10 }", "storm_control = { broadcast = 3 }");
        storms.join(&[0, 1]);
        assert_eq!((storms.passed(LAN), storms.passed(PLAIN), storms.passed(OWN)), (10, 10, 3));
        let mut storms = Storms::new("", "storm_control = { broadcast = 3 }");
        storms.join(&[0, 1]);
        assert_eq!((storms.passed(LAN), storms.passed(PLAIN), storms.passed(OWN)), (20, 20, 3));
        let mut storms =
            Storms::new("storm_control = { broadcast = 10 }", "storm_control = { broadcast = 0 }");
        storms.join(&[0, 1]);
        assert_eq!((storms.passed(PLAIN), storms.passed(OWN)), (10, 20), "one site is trusted");
        let mut storms = Storms::new("", "");
        storms.join(&[0, 1]);
        assert!(storms.policy.storm.is_none(), "what is off costs nothing");
    }

    #[test]
    fn who_floods_gets_no_fresh_budget_by_coming_back() {
        let mut storms = Storms::new("storm_control = { broadcast = 10 }", "");
        storms.join(&[0]);
        assert_eq!(storms.passed(OWN), 10);
        let before = storms.policy.storm.clone().expect("one");
        storms.join(&[0]);
        assert!(
            storms.policy.storm.as_ref().is_some_and(|storm| Arc::ptr_eq(storm, &before)),
            "nothing has changed"
        );
        storms.join(&[0, 1]);
        assert_eq!((storms.passed(OWN), storms.passed(PLAIN)), (0, 10));
        storms.join(&[1]);
        storms.join(&[0, 1]);
        assert_eq!((storms.passed(OWN), storms.passed(LAN)), (0, 10));
        let limited = storms.policy.storm.as_ref().expect("one").limited();
        assert_eq!(limited, [(LAN, [10, 0, 0]), (OWN, [10 + 20 + 20, 0, 0]), (PLAIN, [10, 0, 0])]);
    }

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
