//! Frames cross between two sites: the right ones, whole, in order, to the right place.
#![allow(missing_docs, unreachable_pub, dead_code)]

mod world;

use counters::DropReason;
use wire::frame::parse_udp;
use wire::mac::MacAddr;
use world::*;

fn vlan_stretch(tunnel: u16, vlan: u16) -> Stretch {
    Stretch { tunnel, at: At::Vlan(vlan) }
}

#[test]
fn a_vlan_frame_crosses_with_the_other_sites_vlan() {
    let (mut a, mut b) = pair(&[vlan_stretch(10, 10)], &[vlan_stretch(10, 110)], 1472);
    let inner = frame(MacAddr::BROADCAST, host(1), 100, 7);
    let wan = a.receive(TRUNK, &[tagged(&inner, 10)]);
    assert_eq!(wan.0.len(), 1, "one record, nothing back to the trunk");
    let lan = b.receive(UPLINK, &wan.on(UPLINK));
    assert_eq!(lan.0, [(TRUNK, tagged(&inner, 110))]);
    assert_eq!((a.other_drops(&[]), b.other_drops(&[])), (vec![], vec![]));
}

#[test]
fn the_priority_of_the_tag_is_kept_by_tags_and_lost_without() {
    let inner = frame(MacAddr::BROADCAST, host(1), 100, 7);
    for (at, expected) in [
        (At::Vlan(20), tagged(&inner, 0xe000 | 20)),
        (At::Service(30, None), service_tagged(&inner, 0xe000 | 30)),
        (At::Service(30, Some(31)), service_tagged(&tagged(&inner, 0xe000 | 31), 0xe000 | 30)),
        (At::Untagged, inner.clone()),
    ] {
        let (mut a, mut b) = pair(&[vlan_stretch(10, 10)], &[Stretch { tunnel: 10, at }], 1472);
        let wan = a.receive(TRUNK, &[tagged(&inner, 0xe000 | 10)]);
        assert_eq!(b.receive(UPLINK, &wan.on(UPLINK)).0, [(TRUNK, expected)]);
    }
}

#[test]
fn the_largest_frame_crosses_with_its_priority() {
    let (mut a, mut b) = pair(&[vlan_stretch(10, 10)], &[vlan_stretch(10, 20)], 1472);
    let inner = frame(MacAddr::BROADCAST, host(1), 9000, 7);
    let wan = a.receive(TRUNK, &[tagged(&inner, 0x6000 | 10)]);
    assert_eq!(b.receive(UPLINK, &wan.on(UPLINK)).0, [(TRUNK, tagged(&inner, 0x6000 | 20))]);
    assert_eq!((a.other_drops(&[]), b.other_drops(&[])), (vec![], vec![]));
}

#[test]
fn a_pair_of_tags_comes_before_its_service_vlan_and_the_rest_keeps_its_tags() {
    let stretches = |vlan: u16| {
        [
            Stretch { tunnel: 10, at: At::Service(100, Some(vlan)) },
            Stretch { tunnel: 11, at: At::Service(100, None) },
        ]
    };
    let (mut a, mut b) = pair(&stretches(20), &stretches(21), 1472);
    let inner = frame(MacAddr::BROADCAST, host(1), 100, 7);
    let mut cross = |bytes: Vec<u8>| {
        let wan = a.receive(TRUNK, &[bytes]);
        b.receive(UPLINK, &wan.on(UPLINK)).0
    };
    let in_service = |frame: &[u8]| service_tagged(frame, 100);
    assert_eq!(cross(in_service(&tagged(&inner, 20))), [(TRUNK, in_service(&tagged(&inner, 21)))]);
    assert_eq!(cross(in_service(&tagged(&inner, 99))), [(TRUNK, in_service(&tagged(&inner, 99)))]);
    assert_eq!(cross(in_service(&inner)), [(TRUNK, in_service(&inner))]);
    assert_eq!(cross(service_tagged(&inner, 101)), []);
    assert_eq!(cross(tagged(&inner, 100)), [], "a customer tag is no service tag");
    assert_eq!(a.drops(DropReason::UnknownVlan), 2);
}

#[test]
fn the_inner_plaintext_is_not_in_the_datagram() {
    let (mut a, _) = pair(&[vlan_stretch(10, 10)], &[vlan_stretch(10, 10)], 1472);
    let inner = frame(MacAddr::BROADCAST, host(1), 200, 7);
    let wan = a.receive(TRUNK, &[tagged(&inner, 10)]).on(UPLINK);
    assert!(!wan[0].windows(12).any(|window| window == &inner[40..52]));
}

#[test]
fn learned_addresses_are_sent_to_one_place_and_others_are_flooded() {
    let (mut a, mut b) = pair(&[vlan_stretch(10, 10)], &[vlan_stretch(10, 10)], 1472);
    let hello = a.receive(TRUNK, &[tagged(&frame(MacAddr::BROADCAST, host(1), 50, 1), 10)]);
    b.receive(UPLINK, &hello.on(UPLINK));
    // B answers: its FDB knows host 1 behind the session, so the frame goes into the tunnel only.
    let answer = frame(host(1), host(2), 60, 2);
    let wan = b.receive(TRUNK, &[tagged(&answer, 10)]);
    assert_eq!(wan.on(UPLINK).len(), 1);
    assert_eq!(wan.on(TRUNK).len(), 0);
    assert_eq!(a.receive(UPLINK, &wan.on(UPLINK)).0, [(TRUNK, tagged(&answer, 10))]);
    // Two hosts of one trunk talk to each other without us.
    a.receive(TRUNK, &[tagged(&frame(MacAddr::BROADCAST, host(3), 50, 1), 10)]);
    let local = a.receive(TRUNK, &[tagged(&frame(host(3), host(1), 50, 1), 10)]);
    assert!(local.0.is_empty());
    assert_eq!(a.drops(DropReason::Hairpin), 1);
}

#[test]
fn vlan_to_vxlan_and_back() {
    let (mut a, mut b) = pair(&[vlan_stretch(10, 10)], &[Stretch { tunnel: 10, at: At::Vxlan(5010) }], 1472);
    let inner = frame(MacAddr::BROADCAST, host(1), 1500, 9);
    let wan = a.receive(TRUNK, &[tagged(&inner, 10)]).on(UPLINK);
    let lan = b.receive(UPLINK, &wan).on(TRUNK);
    assert_eq!(lan.len(), 1);
    let udp = parse_udp(&lan[0]).expect("well-formed").expect("UDP");
    assert_eq!(udp.dst.to_string(), "10.9.0.2:4789");
    assert_eq!(udp.src.ip().to_string(), "10.9.0.1");
    assert!(udp.src.port() >= 49_152, "RFC 7348 4.2: a dynamic port");
    let payload = &lan[0][udp.payload];
    assert_eq!(payload[..8], [0x08, 0, 0, 0, 0, 0x13, 0x92, 0], "I flag and VNI 5010");
    assert_eq!(payload[8..], inner);

    // The same, back: the VTEP answers host 1.
    let answer = frame(host(1), host(2), 700, 3);
    let mut datagram = lan[0][..42].to_vec();
    for (a, b) in [(0, 6), (26, 30)] {
        let len = if a == 0 { 6 } else { 4 };
        let first = datagram[a..a + len].to_vec();
        datagram.copy_within(b..b + len, a);
        datagram[b..b + len].copy_from_slice(&first);
    }
    let payload = [&[0x08, 0, 0, 0, 0, 0x13, 0x92, 0][..], &answer].concat();
    datagram[16..18].copy_from_slice(&((28 + payload.len()) as u16).to_be_bytes());
    datagram[38..40].copy_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend(payload);
    let wan = b.receive(TRUNK, &[datagram]).on(UPLINK);
    assert_eq!(b.other_drops(&[]), []);
    assert_eq!(a.receive(UPLINK, &wan).0, [(TRUNK, tagged(&answer, 10))]);
}

#[test]
fn untagged_frames_cross() {
    let (mut a, mut b) =
        pair(&[Stretch { tunnel: 7, at: At::Untagged }], &[Stretch { tunnel: 7, at: At::Untagged }], 1472);
    let inner = frame(MacAddr::BROADCAST, host(1), 333, 7);
    let wan = a.receive(TRUNK, std::slice::from_ref(&inner)).on(UPLINK);
    assert_eq!(b.receive(UPLINK, &wan).0, [(TRUNK, inner)]);
}

#[test]
fn segments_do_not_mix() {
    let stretches = || [vlan_stretch(10, 10), vlan_stretch(11, 11)];
    let (mut a, mut b) = pair(&stretches(), &stretches(), 1472);
    let ten = frame(MacAddr::BROADCAST, host(1), 100, 1);
    let eleven = frame(MacAddr::BROADCAST, host(1), 100, 2);
    let wan = a.receive(TRUNK, &[tagged(&ten, 10), tagged(&eleven, 11)]).on(UPLINK);
    assert_eq!(wan.len(), 1, "both share a record");
    assert_eq!(b.receive(UPLINK, &wan).on(TRUNK), [tagged(&ten, 10), tagged(&eleven, 11)]);
}

#[test]
fn full_size_and_jumbo_frames_cross_a_small_path_without_a_large_datagram() {
    let (mut a, mut b) = pair(&[vlan_stretch(10, 10)], &[vlan_stretch(10, 10)], 1472);
    let frames: Vec<Vec<u8>> = [1500, 46, 9000, 1500, 1, 8999, 1448, 1440, 2900]
        .iter()
        .enumerate()
        .map(|(at, len)| tagged(&frame(MacAddr::BROADCAST, host(1), *len, at as u8), 10))
        .collect();
    let wan = a.receive(TRUNK, &frames).on(UPLINK);
    assert!(wan.iter().all(|datagram| datagram.len() <= 1514), "nothing exceeds the WAN's MTU");
    assert_eq!(b.receive(UPLINK, &wan).on(TRUNK), frames);
    assert_eq!((a.other_drops(&[]), b.other_drops(&[])), (vec![], vec![]));
}

#[test]
fn many_small_frames_share_few_records() {
    let (mut a, mut b) = pair(&[vlan_stretch(10, 10)], &[vlan_stretch(10, 10)], 1472);
    let frames: Vec<Vec<u8>> =
        (0..32).map(|at| tagged(&frame(MacAddr::BROADCAST, host(1), 46, at), 10)).collect();
    let wan = a.receive(TRUNK, &frames).on(UPLINK);
    assert_eq!(wan.len(), 2, "32 frames of 60 octets in two records");
    assert_eq!(b.receive(UPLINK, &wan).on(TRUNK), frames);
}

#[test]
fn records_in_any_order_lose_nothing() {
    let (mut a, mut b) = pair(&[vlan_stretch(10, 10)], &[vlan_stretch(10, 10)], 1472);
    let frames: Vec<Vec<u8>> =
        (0..20).map(|at| tagged(&frame(MacAddr::BROADCAST, host(1), 1500 + 97 * at, at as u8), 10)).collect();
    let mut wan = a.receive(TRUNK, &frames).on(UPLINK);
    wan.reverse();
    let mut got = b.receive(UPLINK, &wan).on(TRUNK);
    let mut sent = frames;
    got.sort();
    sent.sort();
    assert_eq!(got, sent);
    // Once more: every one of them is a replay.
    assert!(b.receive(UPLINK, &wan).0.is_empty());
    assert_eq!(b.drops(DropReason::Replayed), wan.len() as u64);
}

#[test]
fn a_lost_record_costs_only_the_frames_that_touch_it() {
    let (mut a, mut b) = pair(&[vlan_stretch(10, 10)], &[vlan_stretch(10, 10)], 1472);
    let frames: Vec<Vec<u8>> =
        (0..10).map(|at| tagged(&frame(MacAddr::BROADCAST, host(1), 1500, at), 10)).collect();
    let mut wan = a.receive(TRUNK, &frames).on(UPLINK);
    wan.remove(4);
    let got = b.receive(UPLINK, &wan).on(TRUNK);
    let lost: Vec<usize> = (0..10).filter(|at| !got.contains(&frames[*at])).collect();
    assert!(!lost.is_empty() && lost.len() <= 2, "lost {lost:?}");
    assert!(got.iter().all(|frame| frames.contains(frame)), "nothing damaged");
}
