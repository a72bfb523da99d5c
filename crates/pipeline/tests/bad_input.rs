//! What is not fit to cross is dropped under a name, and harms nothing else.
#![allow(missing_docs, unreachable_pub, dead_code)]

mod world;

use bridge::{Endpoint, SegmentIndex};
use counters::DropReason;
use pipeline::command::{Command, Event};
use pipeline::notice::{OwnFrame, Target};
use proptest::prelude::*;
use wire::mac::MacAddr;
use world::*;

fn sites() -> (Site, Site) {
    let a = [Stretch { tunnel: 10, at: At::Vlan(10) }, Stretch { tunnel: 20, at: At::Vxlan(5020) }];
    let b = [Stretch { tunnel: 10, at: At::Vlan(10) }];
    pair(&a, &b, 1472)
}

/// A VXLAN datagram to site 1's VTEP.
fn vxlan(flags: u8, vni: u32, inner: &[u8]) -> Vec<u8> {
    let payload = [&[flags, 0, 0, 0], &(vni << 8).to_be_bytes()[..], inner].concat();
    let mut packet = [&port_mac(1, TRUNK).0[..], &[2, 0, 0, 0, 0, 0x99], &[0x08, 0]].concat();
    packet.extend([0x45, 0]);
    packet.extend(((28 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1]);
    packet.extend(50_000u16.to_be_bytes());
    packet.extend(4789u16.to_be_bytes());
    packet.extend(((8 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

#[test]
fn lan_frames_that_do_not_fit_are_named() {
    let good = frame(MacAddr::BROADCAST, host(1), 50, 1);
    let multicast_source = frame(MacAddr::BROADCAST, MacAddr([3, 0, 0, 0, 0, 1]), 50, 1);
    let zero_source = frame(MacAddr::BROADCAST, MacAddr([0; 6]), 50, 1);
    let reserved = frame(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), host(1), 50, 1);
    let cases = [
        (vec![1, 2, 3], DropReason::Runt),
        (tagged(&good, 99), DropReason::UnknownVlan),
        (tagged(&multicast_source, 10), DropReason::SourceMulticast),
        (tagged(&zero_source, 10), DropReason::SourceZero),
        (tagged(&reserved, 10), DropReason::ReservedMac),
        (tagged(&frame(MacAddr::BROADCAST, host(1), 9001, 1), 10), DropReason::Oversize),
        (tagged(&good, 10)[..17].to_vec(), DropReason::Runt),
        (vxlan(0x00, 5020, &good), DropReason::VxlanBadFlags),
        (vxlan(0x08, 9, &good), DropReason::VxlanUnknownVni),
        (vxlan(0x08, 5020, &good[..9]), DropReason::VxlanInnerRunt),
        (vxlan(0x08, 5020, &multicast_source), DropReason::SourceMulticast),
        (frame(MacAddr::BROADCAST, port_mac(1, TRUNK), 50, 1), DropReason::OwnSource),
    ];
    for (packet, reason) in cases {
        let (mut a, _) = sites();
        let sent = a.receive(TRUNK, &[packet]);
        assert!(sent.0.is_empty(), "{reason:?}: nothing leaves");
        assert_eq!(a.drops(reason), 1, "{reason:?}");
        assert_eq!(a.other_drops(&[reason]), [], "{reason:?} and nothing else");
    }
}

#[test]
fn a_second_tag_is_payload() {
    let (mut a, mut b) = sites();
    let inner = tagged(&frame(MacAddr::BROADCAST, host(1), 50, 1), 77);
    let wan = a.receive(TRUNK, &[tagged(&inner, 10)]).on(UPLINK);
    assert_eq!(b.receive(UPLINK, &wan).on(TRUNK), [tagged(&inner, 10)]);
}

#[test]
fn a_segment_that_the_other_end_does_not_have_stays_out() {
    let (mut a, mut b) = sites();
    let wan = a.receive(TRUNK, &[vxlan(0x08, 5020, &frame(MacAddr::BROADCAST, host(1), 50, 1))]).on(UPLINK);
    assert!(b.receive(UPLINK, &wan).0.is_empty());
    assert_eq!(b.drops(DropReason::UnknownTunnelId), 1);
}

#[test]
fn wan_datagrams_that_do_not_fit_are_named_and_answered_by_nothing() {
    let (mut a, mut b) = sites();
    let wan = a.receive(TRUNK, &[tagged(&frame(MacAddr::BROADCAST, host(1), 50, 1), 10)]).on(UPLINK);
    let record = 42;
    let forged = |at: usize, xor: u8| {
        let mut datagram = wan[0].clone();
        datagram[at] ^= xor;
        datagram
    };
    let mut short = wan[0][..record + 20].to_vec();
    short[16..18].copy_from_slice(&48u16.to_be_bytes());
    short[38..40].copy_from_slice(&28u16.to_be_bytes());
    let cases = [
        (forged(record, 0x20), DropReason::RecordType),
        (forged(record, 0x0a), DropReason::WrongPhase),
        (forged(record, 0x01), DropReason::NotAuthentic),
        (forged(record + 3, 1), DropReason::NoSuchLane),
        (forged(record + 7, 1), DropReason::NotAuthentic),
        (forged(record + 12, 0x80), DropReason::NotAuthentic),
        (forged(wan[0].len() - 1, 1), DropReason::NotAuthentic),
        (short, DropReason::RecordShort),
    ];
    for (datagram, reason) in &cases {
        let before = b.drops(*reason);
        assert!(b.receive(UPLINK, std::slice::from_ref(datagram)).0.is_empty(), "{reason:?}");
        assert_eq!(b.drops(*reason), before + 1, "{reason:?}");
    }
    assert_eq!(b.events.try_iter().count(), 0, "nothing of it reaches the control thread");
    assert_eq!(b.receive(UPLINK, &wan).on(TRUNK).len(), 1, "the true one still arrives");
}

#[test]
fn a_peer_from_another_address_is_reported_and_not_followed() {
    let (mut a, mut b) = sites();
    let mut wan = a.receive(TRUNK, &[tagged(&frame(MacAddr::BROADCAST, host(1), 50, 1), 10)]).on(UPLINK);
    wan[0][29] = 77; // the source address 192.0.2.77
    assert_eq!(b.receive(UPLINK, &wan).on(TRUNK).len(), 1);
    let events: Vec<Event> = b.events.try_iter().collect();
    assert!(matches!(&events[..], [Event::NewWay { from, .. }] if from.peer.to_string() == "192.0.2.77:443"));
}

#[test]
fn without_a_lane_or_a_path_frames_are_counted() {
    let (mut a, _) = sites();
    let packet = tagged(&frame(MacAddr::BROADCAST, host(1), 50, 1), 10);
    a.command(Command::RemoveTx(SESSION));
    a.receive(TRUNK, std::slice::from_ref(&packet));
    assert_eq!(a.drops(DropReason::NoTxLane), 1);
    if let Some(entry) = &mut a.tables.sessions[0] {
        entry.paths[0].path = None;
    }
    a.receive(TRUNK, &[packet]);
    assert_eq!(a.drops(DropReason::NoPeerAddress), 1);
}

#[test]
fn a_record_that_is_given_up_counts_its_frames() {
    let (mut a, _) = sites();
    let mut sent = Sent::default();
    let packets = [1, 2, 3].map(|id| tagged(&frame(MacAddr::BROADCAST, host(id), 50, 1), 10));
    a.begin(TRUNK, &packets, &mut sent);
    // The way to the peer is lost while the record is open.
    a.tables.sessions[0].as_mut().expect("up").paths[0].path = None;
    a.finish(&mut sent);
    assert!(sent.0.is_empty());
    assert_eq!((a.drops(DropReason::NoPeerAddress), a.counters.sessions[0].tx_dropped.get()), (3, 3));
}

/// A record with whatever this is behind the addresses.
fn sent_as_it_is(site: &mut Site, rest: Vec<u8>) -> Vec<Vec<u8>> {
    let to = Target::Endpoint(Endpoint::Session(SESSION));
    let own = OwnFrame { segment: SegmentIndex(0), to, dst: host(2), src: host(1), rest };
    site.command(Command::SendFrame(Box::new(own))).on(UPLINK)
}

#[test]
fn a_frame_from_a_peer_that_ends_in_its_tag_is_a_runt() {
    for rest in [&[0x81, 0, 0, 0][..], &[0x81, 0, 0, 0, 8]] {
        let (mut a, mut b) = sites();
        let wan = sent_as_it_is(&mut a, rest.to_vec());
        assert!(b.receive(UPLINK, &wan).0.is_empty());
        assert_eq!(b.drops(DropReason::Runt), 1);
        assert_eq!(b.other_drops(&[DropReason::Runt]), []);
    }
}

proptest! {
    /// Whatever an authentic peer calls a frame: no panic, and live traffic goes on.
    #[test]
    fn odd_frames_of_a_peer_harm_nothing(
        tags in prop::sample::select(vec![vec![], vec![0x81, 0, 0xe0, 0], vec![0x81, 0, 0, 0, 0x81, 0, 0, 10]]),
        rest in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (mut a, mut b) = sites();
        let wan = sent_as_it_is(&mut a, [tags, rest].concat());
        b.receive(UPLINK, &wan);
        let good = tagged(&frame(MacAddr::BROADCAST, host(1), 50, 1), 10);
        let wan = a.receive(TRUNK, std::slice::from_ref(&good)).on(UPLINK);
        prop_assert_eq!(b.receive(UPLINK, &wan).on(TRUNK), [good]);
    }

    /// Whatever comes in on whichever port: no panic, and live traffic goes on.
    #[test]
    fn random_packets_harm_nothing(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let (mut a, mut b) = sites();
        for packet in &packets {
            a.receive(TRUNK, std::slice::from_ref(packet));
            b.receive(UPLINK, std::slice::from_ref(packet));
        }
        let good = tagged(&frame(MacAddr::BROADCAST, host(1), 50, 1), 10);
        let wan = a.receive(TRUNK, std::slice::from_ref(&good)).on(UPLINK);
        prop_assert_eq!(b.receive(UPLINK, &wan).on(TRUNK), [good]);
    }
}
