//! Explanations say what the engine does, and leave no trace.
#![allow(missing_docs, unreachable_pub, dead_code)]

mod world;

use std::sync::Arc;

use bridge::{AttachmentIndex, Endpoint, Forward, Reflections, SegmentIndex, StormControl, StormLimits};
use counters::DropReason;
use pipeline::Now;
use pipeline::capture::{Filter, Point, Tap, Taps};
use pipeline::explain::{Finding, from_port, from_session};
use proptest::prelude::*;
use wire::mac::MacAddr;
use world::*;

const SEGMENT: SegmentIndex = SegmentIndex(0);
const LAN: Endpoint = Endpoint::Attachment(AttachmentIndex(0));
const SITE: Endpoint = Endpoint::Session(SESSION);

fn sites() -> (Site, Site) {
    let at = |at| [Stretch { tunnel: 10, at }];
    pair(&at(At::Vlan(10)), &at(At::Vxlan(5010)), 1472)
}

fn explained(site: &Site, frame: &[u8]) -> Vec<Finding> {
    from_port(&site.tables, &site.fdb, Now(site.now), TRUNK, frame)
}

fn has(findings: &[Finding], finding: &Finding) -> bool {
    findings.contains(finding)
}

#[test]
fn each_stage_says_what_it_decides() {
    let (mut a, b) = sites();
    let sent = frame(host(2), host(1), 100, 1);
    let found = explained(&a, &tagged(&sent, 10));
    let entered =
        Finding::Entered { segment: SEGMENT, from: LAN, dst: host(2), src: host(1), frame: sent.clone() };
    assert_eq!(
        found[..4],
        [entered, Finding::Source(None), Finding::Destination(None), Finding::Decision(Forward::Flood)]
    );
    assert!(matches!(found[4..], [Finding::Packed(SESSION, UPLINK, 142, _)]), "{found:?}");
    assert!(a.fdb.is_empty() && a.counters.sessions[0].tx_records.get() == 0, "without a trace");

    a.fdb.learn(SEGMENT, host(1), SITE, 1);
    a.fdb.pin(SEGMENT, host(1), true);
    let found = explained(&a, &tagged(&sent, 10));
    assert!(
        has(&found, &Finding::Source(Some(SITE))) && has(&found, &Finding::Dropped(DropReason::DuplicateMac))
    );
    assert!(has(&explained(&a, &tagged(&sent, 11)), &Finding::Dropped(DropReason::UnknownVlan)));
    a.change(|segment| segment.mtu = 50);
    assert!(has(&explained(&a, &tagged(&sent, 10)), &Finding::Dropped(DropReason::Oversize)));

    let found = from_session(&b.tables, &b.fdb, Now(b.now), (SESSION, 10), &sent);
    assert!(matches!(found.last(), Some(Finding::Leaves(TRUNK, octets)) if octets.len() == 50 + sent.len()));
    let found = from_session(&b.tables, &b.fdb, Now(b.now), (SESSION, 11), &sent);
    assert_eq!(found, [Finding::Dropped(DropReason::UnknownTunnelId)]);
    assert!(b.other_drops(&[]).is_empty());
}

#[test]
fn explanations_spend_nothing_and_are_seen_by_nobody() {
    let (mut a, mut b) = sites();
    let limits = StormLimits { broadcast: 1, ..StormLimits::default() };
    let (storm, left) = (
        Arc::new(StormControl::new([LAN, SITE].map(|side| (side, limits)))),
        Arc::new(Reflections::default()),
    );
    let (tap, tapped) = Tap::new(Point::Segment(SEGMENT), Filter::default(), 2000, 16);
    a.tables.taps = Taps::new(vec![tap]);
    a.change(|segment| {
        segment.policy.storm = Some(Arc::clone(&storm));
        segment.policy.reflections = Some(Arc::clone(&left));
        segment.policy.captured = true;
    });
    let everybody = frame(MacAddr::BROADCAST, host(1), 100, 1);
    let from_site = frame(MacAddr::BROADCAST, host(2), 100, 1);
    for _ in 0..3 {
        assert!(
            explained(&a, &tagged(&everybody, 10)).iter().any(|found| matches!(found, Finding::Packed(..)))
        );
        let found = from_session(&a.tables, &a.fdb, Now(a.now), (SESSION, 10), &from_site);
        assert!(found.iter().any(|found| matches!(found, Finding::Leaves(..))), "{found:?}");
    }
    let rest = &from_site[12..];
    assert!(!left.is_one(AttachmentIndex(0), MacAddr::BROADCAST.into(), host(2).into(), rest, a.now));
    assert!(tapped.take().is_none());
    let wan = a.receive(TRUNK, &[tagged(&everybody, 10)]).on(UPLINK);
    assert_eq!(b.receive(UPLINK, &wan).on(TRUNK).len(), 1, "the one that may pass");
    assert!(tapped.take().is_some());
    assert!(has(&explained(&a, &tagged(&everybody, 10)), &Finding::Dropped(DropReason::StormLimited)));
}

proptest! {
    /// Whatever a frame is, the engine then does what was said: the same ports, the same drops.
    #[test]
    fn what_is_said_is_what_is_done(
        dst in prop::sample::select(vec![host(1), host(2), host(3), MacAddr::BROADCAST, MacAddr([1, 0x80, 0xc2, 0, 0, 3])]),
        src in prop::sample::select(vec![host(1), host(2), MacAddr::default(), MacAddr::BROADCAST]),
        vlan in 9..12u16,
        payload in 0..3000usize,
        known in prop::sample::select(vec![None, Some(LAN), Some(SITE)]),
    ) {
        let (mut a, _) = sites();
        a.change(|segment| segment.mtu = 2000);
        if let Some(at) = known {
            a.fdb.learn(SEGMENT, host(2), at, 1);
        }
        let frame = tagged(&frame(dst, src, payload, 1), vlan);
        let said = explained(&a, &frame);
        let sent = a.receive(TRUNK, &[frame]);
        let drops: Vec<&Finding> = said.iter().filter(|finding| matches!(finding, Finding::Dropped(_))).collect();
        let dropped: Vec<Finding> =
            DropReason::ALL.iter().filter(|reason| a.drops(**reason) > 0).map(|reason| Finding::Dropped(*reason)).collect();
        prop_assert_eq!(drops, dropped.iter().collect::<Vec<_>>());
        let records: Vec<usize> = said
            .iter()
            .filter_map(|finding| if let Finding::Packed(.., len, _) = finding { Some(*len) } else { None })
            .collect();
        let lens: Vec<usize> = sent.on(UPLINK).iter().map(|packet| packet.len() - 42).collect();
        prop_assert_eq!(records, lens);
    }
}
