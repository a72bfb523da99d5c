//! What segments do beside forwarding: filters, limits, and what the control thread sees and sends.
#![allow(missing_docs, unreachable_pub, dead_code)]

mod world;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bridge::{
    AttachmentIndex, EgressFilter, Endpoint, Neighbours, Part, Reflections, SegmentIndex, SessionIndex,
    StormControl, StormLimits,
};
use counters::DropReason;
use pipeline::command::{Command, Event};
use pipeline::notice::{Notice, OwnFrame, Target};
use pipeline::tables::AttachmentState;
use record::KeyLimits;
use wire::arp::ArpPacket;
use wire::mac::MacAddr;
use world::*;

const SEGMENT: SegmentIndex = SegmentIndex(0);
const LAN: Endpoint = Endpoint::Attachment(AttachmentIndex(0));
const GATEWAY: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

fn one_vlan() -> (Site, Site) {
    let stretch = || [Stretch { tunnel: 10, at: At::Vlan(10) }];
    pair(&stretch(), &stretch(), 1472)
}

/// A frame from the trunk of `from`, taken over the WAN to the trunk of `to`.
fn cross(from: &mut Site, to: &mut Site, frame: &[u8]) -> usize {
    let wan = from.receive(TRUNK, &[tagged(frame, 10)]);
    to.receive(UPLINK, &wan.on(UPLINK)).on(TRUNK).len()
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn arp(src: MacAddr, sender: u8, target: u8) -> Vec<u8> {
    let packet = ArpPacket::new(ArpPacket::REQUEST, (src, ip(sender)), (MacAddr::default(), ip(target)));
    [&MacAddr::BROADCAST.0[..], &src.0, &[8, 6], &packet.to_bytes()].concat()
}

fn counted_in_segment(site: &Site, reason: DropReason) -> u64 {
    site.counters.segments[0].drops.get(reason)
}

#[test]
fn arp_for_an_egress_gateway_crosses_in_neither_direction() {
    let (mut a, mut b) = one_vlan();
    let filter = || {
        let mut filter = EgressFilter::new(Some(GATEWAY.into()));
        filter.keep(ip(254).into(), None);
        filter
    };
    a.change(|segment| segment.policy.egress = Some(filter()));
    assert_eq!(cross(&mut a, &mut b, &arp(host(1), 1, 254)), 0, "ours stays");
    assert_eq!(
        cross(&mut b, &mut a, &arp(host(2), 2, 254)),
        0,
        "theirs is not taken, though they do not filter"
    );
    assert_eq!(cross(&mut b, &mut a, &frame(GATEWAY, host(2), 60, 1)), 0, "nobody there reaches our gateway");
    assert_eq!(cross(&mut a, &mut b, &arp(host(1), 1, 2)), 1, "everything else is bridged");
    assert_eq!(cross(&mut b, &mut a, &arp(host(2), 2, 1)), 1);
    assert_eq!(cross(&mut b, &mut a, &frame(host(1), host(2), 60, 1)), 1);
    assert_eq!(
        (a.drops(DropReason::EgressFiltered), counted_in_segment(&a, DropReason::EgressFiltered)),
        (3, 3)
    );
    assert_eq!(a.fdb.lookup(SEGMENT, GATEWAY), None);
}

#[test]
fn storm_control_limits_each_side_by_itself() {
    let (mut a, mut b) = one_vlan();
    let limits = StormLimits { broadcast: 10, multicast: 5, unknown_unicast: 3 };
    let session = Endpoint::Session(SESSION);
    let control = Arc::new(StormControl::new([LAN, session].map(|side| (side, limits))));
    a.change(|segment| segment.policy.storm = Some(Arc::clone(&control)));
    let group = MacAddr([1, 0, 0x5e, 0, 0, 9]);
    let mut passed =
        |dst: MacAddr| (0..20).map(|_| cross(&mut a, &mut b, &frame(dst, host(1), 60, 1))).sum::<usize>();
    assert_eq!((passed(MacAddr::BROADCAST), passed(group), passed(host(9))), (10, 5, 3));
    let back =
        (0..20).map(|_| cross(&mut b, &mut a, &frame(MacAddr::BROADCAST, host(2), 60, 1))).sum::<usize>();
    assert_eq!(back, 10, "the site has a budget of its own");
    assert_eq!(cross(&mut a, &mut b, &frame(host(2), host(1), 60, 1)), 1, "known unicast is not limited");
    assert_eq!(counted_in_segment(&a, DropReason::StormLimited), 10 + 15 + 17 + 10);
    a.now += Duration::from_millis(500);
    let later =
        (0..20).map(|_| cross(&mut a, &mut b, &frame(MacAddr::BROADCAST, host(1), 60, 1))).sum::<usize>();
    assert_eq!(later, 5, "half a second's worth");
}

#[test]
fn a_site_that_floods_leaves_the_others_what_they_may_send() {
    let (mut hub, mut flooder) = one_vlan();
    let stretch = [Stretch { tunnel: 10, at: At::Vlan(10) }];
    let (mut quiet, second) = (Site::new(2, &stretch, 1472), SessionIndex(1));
    lane_into(&mut quiet, (&mut hub, second), 300, KeyLimits::default());
    hub.tables.sessions.extend(Site::new(1, &stretch, 1472).tables.sessions);
    let limits = |broadcast| StormLimits { broadcast, ..StormLimits::default() };
    let sides = [
        (LAN, limits(10)),
        (Endpoint::Session(SESSION), limits(10)),
        (Endpoint::Session(second), limits(20)),
    ];
    let control = Arc::new(StormControl::new(sides));
    hub.change(|segment| {
        (segment.sessions, segment.spoke_to_spoke) = (vec![SESSION, second], false);
        segment.policy.storm = Some(Arc::clone(&control));
    });
    let mut broadcasts = |from: &mut Site, src| {
        (0..25).map(|_| cross(from, &mut hub, &frame(MacAddr::BROADCAST, src, 60, 1))).sum::<usize>()
    };
    assert_eq!(broadcasts(&mut flooder, host(2)), 10);
    assert_eq!(broadcasts(&mut quiet, host(3)), 20, "all that it may: a limit of its own");
    let limited = [(Endpoint::Session(SESSION), [15, 0, 0]), (Endpoint::Session(second), [5, 0, 0])];
    assert_eq!(control.limited(), limited, "it is known who was limited");
    let of_site = |at: usize| hub.counters.sessions[at].rx_storm_limited.get();
    assert_eq!((of_site(0), of_site(1), hub.drops(DropReason::StormLimited)), (15, 5, 20));
}

#[test]
fn unknown_unicast_is_dropped_where_the_segment_says_so() {
    let (mut a, mut b) = one_vlan();
    a.change(|segment| segment.policy.block_unknown = true);
    assert_eq!(cross(&mut a, &mut b, &frame(host(2), host(1), 60, 1)), 0);
    assert_eq!(cross(&mut a, &mut b, &frame(MacAddr::BROADCAST, host(1), 60, 1)), 1);
    cross(&mut b, &mut a, &frame(MacAddr::BROADCAST, host(2), 60, 1));
    assert_eq!(cross(&mut a, &mut b, &frame(host(2), host(1), 60, 1)), 1, "known by now");
    assert_eq!(counted_in_segment(&a, DropReason::UnknownUnicast), 1);
}

#[test]
fn a_full_site_is_flooded_to_and_takes_nothing_from_others() {
    let (mut a, mut b) = one_vlan();
    a.fdb.limit(Part::Session(SESSION), Some(1));
    assert_eq!(cross(&mut b, &mut a, &frame(MacAddr::BROADCAST, host(2), 60, 1)), 1);
    assert_eq!(
        cross(&mut b, &mut a, &frame(MacAddr::BROADCAST, host(3), 60, 1)),
        1,
        "forwarded, not learned"
    );
    assert_eq!(
        (a.fdb.lookup(SEGMENT, host(2)), a.fdb.lookup(SEGMENT, host(3))),
        (Some(Endpoint::Session(SESSION)), None)
    );
    assert_eq!(counted_in_segment(&a, DropReason::MacLimit), 1);
}

#[test]
fn a_pinned_address_counts_only_where_it_is() {
    let (mut a, mut b) = one_vlan();
    cross(&mut a, &mut b, &frame(MacAddr::BROADCAST, host(1), 60, 1));
    cross(&mut b, &mut a, &frame(MacAddr::BROADCAST, host(1), 60, 1));
    let Ok(Notice::Moved { mac, from, to, .. }) = a.notices.try_recv() else { panic!("the move is told") };
    assert_eq!((mac, from, to), (host(1), LAN, Endpoint::Session(SESSION)));
    assert!(a.fdb.pin(SEGMENT, host(1), true));
    assert_eq!(cross(&mut a, &mut b, &frame(MacAddr::BROADCAST, host(1), 60, 1)), 0);
    assert_eq!(counted_in_segment(&a, DropReason::DuplicateMac), 1);
}

#[test]
fn a_blocked_attachment_passes_probes_and_nothing_else() {
    let (mut a, mut b) = one_vlan();
    a.tables.attachments[0].state = AttachmentState::Blocked;
    a.change(|segment| segment.attachments.clear());
    assert_eq!(cross(&mut a, &mut b, &frame(MacAddr::BROADCAST, host(1), 60, 1)), 0);
    assert_eq!((a.drops(DropReason::LoopBlocked), counted_in_segment(&a, DropReason::LoopBlocked)), (1, 1));
    assert_eq!(cross(&mut b, &mut a, &frame(MacAddr::BROADCAST, host(2), 60, 1)), 0);
    let probe = frame(MacAddr::LOOP_PROBE, host(7), 60, 3);
    a.receive(TRUNK, &[tagged(&probe, 10)]);
    let Ok(Notice::Frame(seen)) = a.notices.try_recv() else { panic!("the control thread sees it") };
    assert_eq!((seen.from, seen.src, &seen.rest[..], seen.forwarded), (LAN, host(7), &probe[12..], false));
    let own = OwnFrame {
        segment: SEGMENT,
        to: Target::Endpoint(LAN),
        dst: MacAddr::LOOP_PROBE,
        src: host(8),
        rest: probe[12..].to_vec(),
    };
    let sent = a.command(Command::SendFrame(Box::new(own)));
    assert_eq!(sent.0, [(TRUNK, tagged(&frame(MacAddr::LOOP_PROBE, host(8), 60, 3), 10))]);
    assert!(matches!(a.events.try_recv(), Ok(Event::RetiredFrame(_))), "freed by the control thread");
}

#[test]
fn what_comes_back_where_it_left_is_dropped_and_moves_nothing() {
    let (mut a, mut b) = one_vlan();
    let left = Arc::new(Reflections::default());
    a.change(|segment| segment.policy.reflections = Some(Arc::clone(&left)));
    let wan = b.receive(TRUNK, &[tagged(&frame(MacAddr::BROADCAST, host(2), 60, 1), 10)]);
    let out = a.receive(UPLINK, &wan.on(UPLINK)).on(TRUNK);
    assert_eq!(out.len(), 1);
    assert!(a.receive(TRUNK, &out).0.is_empty(), "it came back");
    assert_eq!(counted_in_segment(&a, DropReason::Reflected), 1);
    assert_eq!(a.fdb.lookup(SEGMENT, host(2)), Some(Endpoint::Session(SESSION)), "and taught nothing");
    assert!(a.notices.try_recv().is_err());
    // The host moves here: what it sends now was not sent by us.
    assert_eq!(cross(&mut a, &mut b, &frame(MacAddr::BROADCAST, host(2), 60, 9)), 1);
    assert_eq!(a.fdb.lookup(SEGMENT, host(2)), Some(LAN));
    assert!(matches!(a.notices.try_recv(), Ok(Notice::Moved { announced: true, .. })));
}

#[test]
fn answers_to_the_appliance_itself_go_no_further() {
    let (mut a, mut b) = one_vlan();
    let own = host(0xaa);
    a.change(|segment| {
        segment.policy.neighbours = Neighbours::Answered;
        segment.policy.asks_as = own.into();
    });
    let packet = ArpPacket::new(ArpPacket::REPLY, (host(1), ip(1)), (own, ip(0)));
    let reply = [&own.0[..], &host(1).0, &[8, 6], &packet.to_bytes()].concat();
    assert_eq!(cross(&mut a, &mut b, &reply), 0);
    assert!(matches!(a.notices.try_recv(), Ok(Notice::Frame(seen)) if !seen.forwarded && seen.dst == own));
    let other = [&host(2).0[..], &reply[6..]].concat();
    assert_eq!(cross(&mut a, &mut b, &other), 1);
}

#[test]
fn requests_wait_for_the_control_thread_and_go_on_when_it_says_so() {
    let (mut a, mut b) = one_vlan();
    a.change(|segment| segment.policy.neighbours = Neighbours::Answered);
    let asks = arp(host(1), 1, 2);
    assert_eq!(cross(&mut a, &mut b, &asks), 0);
    let Ok(Notice::Frame(seen)) = a.notices.try_recv() else { panic!("the control thread sees it") };
    assert!(!seen.forwarded);
    assert_eq!(a.fdb.lookup(SEGMENT, host(1)), None, "what is held back is learned when it goes on");
    assert_eq!(counted_in_segment(&a, DropReason::NeighbourHeld), 1);
    assert!(a.counters.samples.read(DropReason::NeighbourHeld).is_empty(), "it is in good hands");
    let on = OwnFrame {
        segment: seen.segment,
        to: Target::From(seen.from),
        dst: seen.dst,
        src: seen.src,
        rest: seen.rest.to_vec(),
    };
    let wan = a.command(Command::SendFrame(Box::new(on)));
    assert_eq!(b.receive(UPLINK, &wan.on(UPLINK)).on(TRUNK).len(), 1);
    // Announcements go on by themselves, and a copy is seen.
    assert_eq!(cross(&mut a, &mut b, &arp(host(1), 1, 1)), 1, "gratuitous");
    assert!(matches!(a.notices.try_recv(), Ok(Notice::Frame(seen)) if seen.forwarded));
}

#[test]
fn who_asks_through_a_session_is_not_lost_by_it() {
    let (mut a, mut b) = one_vlan();
    b.change(|segment| segment.policy.neighbours = Neighbours::Answered);
    assert_eq!(cross(&mut a, &mut b, &arp(host(1), 1, 2)), 0);
    assert!(matches!(b.notices.try_recv(), Ok(Notice::Frame(seen)) if !seen.forwarded));
    assert_eq!((b.drops(DropReason::NeighbourHeld), b.counters.sessions[0].rx_dropped.get()), (1, 0));
}

#[test]
fn frames_of_a_segment_are_counted_for_it_wherever_they_end() {
    let stretches = [10, 20, 30].map(|tunnel| Stretch { tunnel, at: At::Vlan(tunnel) });
    let mut a = Site::new(1, &stretches, 1472);
    let packet = |dst| [tagged(&frame(dst, host(1), 60, 1), 10)];
    a.tables.attachments[0].state = AttachmentState::Listening;
    a.receive(TRUNK, &packet(MacAddr::BROADCAST));
    assert_eq!(counted_in_segment(&a, DropReason::LoopListening), 1);

    // The FDB leads to an attachment that is another segment's by now.
    a.tables.attachments[0].state = AttachmentState::Forwarding;
    a.fdb.learn(SEGMENT, host(2), Endpoint::Attachment(AttachmentIndex(1)), 1);
    a.receive(TRUNK, &packet(host(2)));
    assert_eq!(counted_in_segment(&a, DropReason::NoDestination), 1);

    // To two other attachments, with one buffer: one copy is missing.
    for at in [1, 2] {
        a.tables.attachments[at].segment = SEGMENT;
    }
    a.change(|segment| {
        segment.sessions.clear();
        segment.attachments = [0, 1, 2].map(AttachmentIndex).to_vec();
    });
    a.limit_buffers(1);
    assert_eq!(a.receive(TRUNK, &packet(MacAddr::BROADCAST)).on(TRUNK).len(), 1);
    assert_eq!((a.drops(DropReason::NoBuffer), counted_in_segment(&a, DropReason::NoBuffer)), (1, 1));
}
