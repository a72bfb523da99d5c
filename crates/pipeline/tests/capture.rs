//! Captures, samples of drops, and what is counted by segment and session.
#![allow(missing_docs, unreachable_pub, dead_code)]

mod world;

use std::sync::Arc;
use std::time::Duration;

use bridge::{Endpoint, SegmentIndex};
use counters::DropReason;
use pipeline::capture::{Filter, Packet, Point, Tap, Tapped, Taps};
use pipeline::command::{Command, Event};
use pipeline::notice::{Notice, OwnFrame, Target};
use wire::mac::MacAddr;
use world::*;

const SEGMENT: SegmentIndex = SegmentIndex(0);

fn one_vlan() -> (Site, Site) {
    let stretch = || [Stretch { tunnel: 10, at: At::Vlan(10) }];
    pair(&stretch(), &stretch(), 1472)
}

fn tap(site: &mut Site, points: &[Point]) -> Vec<Tapped> {
    let (taps, tapped): (Vec<Arc<Tap>>, Vec<Tapped>) =
        points.iter().map(|point| Tap::new(*point, Filter::default(), 2000, 16)).unzip();
    site.tables.taps = Taps::new(taps);
    site.change(|segment| segment.policy.captured = true);
    tapped
}

fn all(tapped: &Tapped) -> Vec<Packet> {
    std::iter::from_fn(|| tapped.take()).collect()
}

#[test]
fn a_session_is_seen_inside_outside_and_opened_at_both_ends() {
    let (mut a, mut b) = one_vlan();
    let points = [Point::Inside(SESSION), Point::Outside(SESSION), Point::Blocks(SESSION)];
    let (at_a, at_b) = (tap(&mut a, &points), tap(&mut b, &points));
    let sent = frame(host(2), host(1), 100, 1);
    let wan = a.receive(TRUNK, &[tagged(&sent, 10)]);
    b.receive(UPLINK, &wan.on(UPLINK));
    for (taps, outbound) in [(&at_a, true), (&at_b, false)] {
        let [inside, outside, opened] = [0, 1, 2].map(|at: usize| all(&taps[at]));
        assert_eq!((inside.len(), outside.len(), opened.len()), (1, 1, 1));
        assert_eq!(inside[0].octets, sent);
        assert_eq!(inside[0].place.endpoint, Some(Endpoint::Session(SESSION)));
        assert_eq!(outside[0].octets, wan.on(UPLINK)[0], "as it is on the line");
        // The record's header, a block's header, the frame.
        assert_eq!(opened[0].octets[..8], outside[0].octets[42..50]);
        assert_eq!(opened[0].octets[8..12], [0xc0, 10, 0, sent.len() as u8]);
        assert_eq!(opened[0].octets[12..], sent);
        assert!([&inside, &outside, &opened].iter().all(|packets| packets[0].place.outbound == outbound));
    }
}

#[test]
fn what_comes_out_of_any_session_is_one_point() {
    let (mut a, mut b) = one_vlan();
    let (at_a, at_b) = (tap(&mut a, &[Point::Sessions]), tap(&mut b, &[Point::Sessions]));
    let sent = frame(host(2), host(1), 100, 1);
    let wan = a.receive(TRUNK, &[tagged(&sent, 10)]);
    b.receive(UPLINK, &wan.on(UPLINK));
    assert!(all(&at_a[0]).is_empty(), "what goes into one was seen where it came in");
    let seen = all(&at_b[0]);
    assert_eq!((seen.len(), &seen[0].octets), (1, &sent));
    assert_eq!(seen[0].place, pipeline::capture::Place { segment: Some(SEGMENT), ..seen[0].place });
}

#[test]
fn a_segment_shows_each_frame_once_where_it_enters() {
    let (mut a, mut b) = one_vlan();
    let at_b = tap(&mut b, &[Point::Segment(SEGMENT)]);
    let wan = a.receive(TRUNK, &[tagged(&frame(MacAddr::BROADCAST, host(1), 60, 1), 10)]);
    b.receive(UPLINK, &wan.on(UPLINK));
    b.receive(TRUNK, &[tagged(&frame(host(1), host(2), 60, 2), 10)]);
    let seen = all(&at_b[0]);
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].place.endpoint, Some(Endpoint::Session(SESSION)));
    assert_eq!(seen[1].octets, frame(host(1), host(2), 60, 2), "without its tag");
}

#[test]
fn drops_are_captured_with_their_reason_and_the_last_are_kept() {
    let (mut a, _) = one_vlan();
    let taps = tap(&mut a, &[Point::Drops(None), Point::Drops(Some(DropReason::UnknownVlan))]);
    let foreign = tagged(&frame(host(2), host(1), 60, 1), 77);
    let reserved = frame(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), host(1), 60, 1);
    a.receive(TRUNK, &[foreign.clone(), tagged(&reserved, 10), tagged(&frame(host(1), host(1), 60, 1), 10)]);
    let reasons: Vec<_> = all(&taps[0]).iter().map(|packet| packet.reason.expect("dropped")).collect();
    assert_eq!(reasons, [DropReason::UnknownVlan, DropReason::ReservedMac, DropReason::Hairpin]);
    let only = all(&taps[1]);
    assert_eq!((only.len(), &only[0].octets), (1, &foreign));

    let sample = &a.counters.samples.read(DropReason::Hairpin)[0];
    assert_eq!(sample.octets, frame(host(1), host(1), 60, 1));
    assert_eq!((sample.origin.segment, sample.len), (Some(0), 74));
    assert_eq!(a.counters.samples.read(DropReason::UnknownVlan)[0].origin.port, Some(TRUNK.0));
}

#[test]
fn a_frame_to_the_appliance_itself_goes_no_further() {
    let (mut a, _) = one_vlan();
    let own = host(0x77);
    a.change(|segment| segment.policy.own = Some(own.into()));
    let sent = a.receive(TRUNK, &[tagged(&frame(own, host(1), 60, 1), 10)]);
    assert!(sent.0.is_empty());
    assert_eq!(a.drops(DropReason::OwnDestination), 1);
    let notice = a.notices.try_recv().expect("shown");
    assert!(matches!(notice, pipeline::notice::Notice::Frame(seen) if seen.dst == own && !seen.forwarded));
}

#[test]
fn kinds_of_frames_are_counted_by_segment_and_session() {
    let (mut a, mut b) = one_vlan();
    let frames = [
        frame(MacAddr::BROADCAST, host(1), 60, 1),
        frame(MacAddr([1, 0, 0x5e, 0, 0, 5]), host(1), 60, 1),
        frame(host(9), host(1), 60, 1),
        frame(host(8), host(1), 60, 1),
    ];
    let wan = a.receive(TRUNK, &frames.map(|frame| tagged(&frame, 10)));
    b.receive(UPLINK, &wan.on(UPLINK));
    let back = b.receive(TRUNK, &[tagged(&frame(host(1), host(2), 60, 1), 10)]);
    a.receive(UPLINK, &back.on(UPLINK));
    let (lan, to) = (&a.counters.segments[0].from_lan, &a.counters.segments[0].to_tunnel);
    assert_eq!((lan.frames.get(), lan.bum.get(), lan.broadcast.get()), (4, 2, 1));
    assert_eq!((lan.unknown_unicast.get(), to.frames.get(), to.octets.get()), (2, 4, 4 * 74));
    let session = &a.counters.sessions[0];
    assert_eq!((session.tx_bum.get(), session.tx_broadcast.get()), (4, 1));
    assert_eq!((session.tx_unknown_unicast.get(), session.rx_frames.get()), (2, 1));
    let session = &b.counters.sessions[0];
    assert_eq!((session.rx_bum.get(), session.rx_broadcast.get()), (2, 1));
    assert_eq!((session.rx_unknown_unicast.get(), session.tx_bum.get()), (2, 0));
    assert_eq!(b.counters.segments[0].from_tunnel.unknown_unicast.get(), 2);

    // What cannot be sent, and what is not taken, is counted for the session.
    a.tables.sessions[0].as_mut().expect("up").paths[0].path = None;
    a.receive(TRUNK, &[tagged(&frame(host(2), host(1), 60, 1), 10)]);
    assert_eq!(a.counters.sessions[0].tx_dropped.get(), 1);
    assert_eq!(a.counters.segments[0].drops.get(DropReason::NoPeerAddress), 1);
    b.change(|segment| segment.mtu = 20);
    b.receive(UPLINK, &wan.on(UPLINK));
    assert_eq!(b.counters.sessions[0].rx_dropped.get(), 0, "replayed records are not of a frame");
}

#[test]
fn a_few_checksums_a_second_are_looked_at() {
    let (mut a, _) = one_vlan();
    let header = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let udp = [&[8, 0][..], &header, &[0x10, 0, 0x20, 0, 0, 8, 0x12, 0x34]].concat();
    let bad = [&host(2).0[..], &host(1).0, &udp].concat();
    let frames = vec![tagged(&bad, 10); 10];
    a.receive(TRUNK, &frames);
    assert_eq!(a.counters.segments[0].checksums.sampled.get(), 0, "not before it is due");
    for _ in 0..3 {
        a.now += Duration::from_millis(100);
        a.housekeep();
        a.receive(TRUNK, &frames);
    }
    let checksums = &a.counters.segments[0].checksums;
    assert_eq!((checksums.sampled.get(), checksums.wrong.get()), (3, 3));
}

#[test]
fn test_frames_are_the_appliances_own_whatever_their_size() {
    let (mut a, mut b) = one_vlan();
    let own = |size: usize| OwnFrame {
        segment: SEGMENT,
        to: Target::Endpoint(Endpoint::Session(SESSION)),
        dst: MacAddr::LOOP_PROBE,
        src: host(9),
        rest: frame(MacAddr::LOOP_PROBE, host(9), size, 1)[12..].to_vec(),
    };
    for size in [46, 1500, 5000] {
        let wan = a.command(Command::SendFrame(Box::new(own(size))));
        let sent = b.receive(UPLINK, &wan.on(UPLINK));
        assert!(sent.on(TRUNK).is_empty(), "{size}: goes no further");
        let notice = b.notices.try_recv();
        assert!(
            matches!(notice, Ok(Notice::Frame(seen)) if seen.dst == MacAddr::LOOP_PROBE),
            "{size}: is shown"
        );
    }
}

#[test]
fn padding_is_counted_and_echoes_that_measure_are_answered_by_the_worker() {
    let (mut a, mut b) = one_vlan();
    let send = |site: &mut Site, block: &[u8], record: u16| {
        let block = block.iter().copied().collect();
        site.command(Command::SendControl { session: SESSION, path: 0, to: None, block, record })
    };
    let wan = send(&mut a, &[0], 1000);
    b.receive(UPLINK, &wan.on(UPLINK));
    let counters = &b.counters.sessions[0];
    assert_eq!((counters.rx_padding_records.get(), counters.rx_padding_octets.get()), (1, 1000));
    assert!(b.events.try_recv().is_err(), "nobody else is bothered");

    let token = [1, 2, 3, 4, 5, 6, 7, 8];
    let wan = send(&mut a, &[&[1][..], &token, &[2]].concat(), 0);
    let back = b.receive(UPLINK, &wan.on(UPLINK));
    assert!(b.events.try_recv().is_err());
    a.receive(UPLINK, &back.on(UPLINK));
    let event = a.events.try_recv().expect("the reply");
    assert!(
        matches!(event, Event::Control { block, at, .. } if block[..9] == [&[2][..], &token].concat() && at == a.now)
    );

    let wan = send(&mut a, &[&[1][..], &token, &[1]].concat(), 0);
    assert!(b.receive(UPLINK, &wan.on(UPLINK)).0.is_empty(), "an ordinary one is the control thread's");
    assert!(matches!(b.events.try_recv(), Ok(Event::Control { .. })));
}
