//! What a segment's frames are looked at for, put together from its configuration and the sessions that are up.

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
    /// The gateway's MAC address.
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
    let mut filter = EgressFilter::new(of.gateway?.into());
    for address in &gateway.egress {
        filter.keep(*address, None);
    }
    for (session, site) in of.layout.sites() {
        for (segment, address) in &site.egress {
            if of.layout.segment_index(*segment) == Some(of.index) {
                filter.keep(*address, Some(session));
            }
        }
    }
    (!filter.is_empty()).then_some(filter)
}
