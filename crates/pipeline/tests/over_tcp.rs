//! Records that go to the control thread instead of an uplink, and come from it.
#![allow(missing_docs, unreachable_pub, dead_code)]

mod world;

use counters::DropReason;
use pipeline::command::Event;
use wire::mac::MacAddr;
use world::*;

fn pair_over_tcp() -> (Site, Site) {
    let stretch = |vlan| [Stretch { tunnel: 10, at: At::Vlan(vlan) }];
    let (mut a, mut b) = pair(&stretch(10), &stretch(20), 1472);
    a.over_tcp(1600);
    b.over_tcp(1600);
    (a, b)
}

#[test]
fn frames_cross_whole_with_one_record_for_each_full_frame() {
    let (mut a, mut b) = pair_over_tcp();
    let small = frame(MacAddr::BROADCAST, host(1), 100, 7);
    let full = frame(MacAddr::BROADCAST, host(1), 1500, 8);
    let jumbo = frame(MacAddr::BROADCAST, host(1), 9000, 9);
    let wan = a.receive(TRUNK, &[tagged(&full, 10)]);
    assert_eq!((wan.0.len(), wan.on(TCP).len()), (1, 1), "nothing leaves by the uplink");
    assert_eq!(b.receive_over_tcp(&wan.on(TCP)).0, [(TRUNK, tagged(&full, 20))]);
    let wan = a.receive(TRUNK, &[tagged(&small, 10), tagged(&jumbo, 10), tagged(&full, 10)]);
    assert!(wan.on(TCP).iter().all(|record| record.len() <= 1600));
    let lan = b.receive_over_tcp(&wan.on(TCP));
    assert_eq!(lan.on(TRUNK), [tagged(&small, 20), tagged(&jumbo, 20), tagged(&full, 20)]);
    assert_eq!((a.other_drops(&[]), b.other_drops(&[])), (vec![], vec![]));
    assert!(
        b.events.try_iter().all(|event| !matches!(event, Event::NewWay { .. })),
        "there is no address to prove"
    );
}

#[test]
fn replayed_forged_and_cut_records_are_dropped_and_counted() {
    let (mut a, mut b) = pair_over_tcp();
    let inner = frame(MacAddr::BROADCAST, host(1), 100, 7);
    let records = a.receive(TRUNK, &[tagged(&inner, 10)]).on(TCP);
    b.receive_over_tcp(&records);
    assert!(b.receive_over_tcp(&records).0.is_empty());
    let mut forged = a.receive(TRUNK, &[tagged(&inner, 10)]).on(TCP);
    *forged[0].last_mut().expect("octets") ^= 1;
    let cut = vec![forged[0][..20].to_vec(), Vec::new()];
    assert!(b.receive_over_tcp(&forged).0.is_empty());
    assert!(b.receive_over_tcp(&cut).0.is_empty());
    for (reason, count) in
        [(DropReason::Replayed, 1), (DropReason::NotAuthentic, 1), (DropReason::RecordShort, 2)]
    {
        assert_eq!(b.drops(reason), count, "{reason:?}");
    }
}

#[test]
fn one_way_may_be_udp() {
    let (mut a, _) = pair_over_tcp();
    let stretch = [Stretch { tunnel: 10, at: At::Vlan(20) }];
    let mut b = Site::new(2, &stretch, 1472);
    lane(&mut a, &mut b, 300, record::KeyLimits::default());
    lane(&mut b, &mut a, 400, record::KeyLimits::default());
    let inner = frame(MacAddr::BROADCAST, host(1), 100, 7);
    let wan = a.receive(TRUNK, &[tagged(&inner, 10)]);
    assert_eq!(b.receive_over_tcp(&wan.on(TCP)).on(TRUNK), [tagged(&inner, 20)]);
    let back = b.receive(TRUNK, &[tagged(&frame(MacAddr::BROADCAST, host(2), 50, 1), 20)]);
    assert_eq!(a.receive(UPLINK, &back.on(UPLINK)).on(TRUNK).len(), 1);
}
