//! Records of several paths, padded records, and marks of the inner packets outside.
#![allow(missing_docs, unreachable_pub, dead_code)]

mod world;

use std::collections::HashSet;
use std::net::SocketAddr;

use arrayvec::ArrayVec;
use pipeline::command::{Command, Event};
use pipeline::tables::{Marks, PathEntry, PortRole, SessionEntry, Spread};
use record::{KeyLimits, LaneId, LaneSecret, RxLane, TxLane};
use wire::checksum;
use wire::frame::parse_udp;
use wire::mac::MacAddr;
use wire::mark::{self, Mark};
use world::*;

fn sites() -> (Site, Site) {
    let stretch = || [Stretch { tunnel: 10, at: At::Vlan(10) }];
    pair(&stretch(), &stretch(), 1472)
}

/// An IPv4 packet of host `id` with this mark.
fn packet(id: u8, tos: u8, payload: usize) -> Vec<u8> {
    let mut bytes = [&MacAddr::BROADCAST.0[..], &host(id).0, &[8, 0]].concat();
    let mut header = vec![0x45, tos, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, id, 10, 0, 0, 99];
    header[2..4].copy_from_slice(&(20 + payload as u16).to_be_bytes());
    let sum = checksum::internet(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(header);
    bytes.resize(bytes.len() + payload, id);
    tagged(&bytes, 10)
}

/// Gives a site's session a second path, to another port of the peer, with a lane in each direction.
fn second_path(from: &mut Site, to: &mut Site, id: u32) {
    let id = LaneId::new(id).expect("24 bits");
    let secret = || LaneSecret::new([id.get() as u8; 32]);
    let rx = Box::new(RxLane::new(id, SUITE, secret()));
    let tx = Box::new(TxLane::new(id, SUITE, secret(), KeyLimits::default(), from.now));
    to.command(Command::InstallRx { session: SESSION, path: 1, leads: true, lane: rx });
    from.command(Command::InstallTx { session: SESSION, path: 1, lane: tx });
    let entry = from.tables.sessions[0].as_mut().expect("up");
    let first = entry.paths[0].path.clone().expect("a path");
    let own = first.header.clone().expect("by UDP");
    let second = SocketAddr::new(own.dst().ip(), 444);
    let header =
        wire::template::UdpTemplate::new(port_mac(1, UPLINK), port_mac(2, UPLINK), own.src(), second);
    let path = pipeline::tables::Path { header: Some(header.expect("one family")), ..first };
    entry.paths.push(PathEntry { path: Some(path), way: None });
    entry.spread = Spread::new(2, &[0, 1]);
}

fn ports_of(records: &[Vec<u8>]) -> Vec<u16> {
    let port = |record: &Vec<u8>| parse_udp(record).expect("well-formed").expect("UDP").dst.port();
    records.iter().map(port).collect()
}

#[test]
fn each_flow_takes_one_path_and_all_paths_are_taken() {
    let (mut a, mut b) = sites();
    second_path(&mut a, &mut b, 300);
    let mut seen: HashSet<u16> = HashSet::new();
    for id in 1..40 {
        let burst: Vec<Vec<u8>> = (0..3).map(|_| packet(id, 0, 50)).collect();
        let ports = ports_of(&a.receive(TRUNK, &burst).on(UPLINK));
        assert_eq!(ports.len(), 1, "one flow, one record");
        seen.extend(ports);
    }
    assert_eq!(seen, HashSet::from([443, 444]));
    // A path that is dead for the tables takes nothing.
    a.tables.sessions[0].as_mut().expect("up").spread = Spread::new(2, &[1]);
    for id in 1..40 {
        let burst = [packet(id, 0, 50)];
        assert_eq!(ports_of(&a.receive(TRUNK, &burst).on(UPLINK)), [444]);
    }
    assert_eq!(a.other_drops(&[]), []);
    let sent = [0, 1].map(|path| a.counters.path(0, path).expect("a path").tx_records.get());
    assert!(sent[0] > 0 && sent[1] > 40, "{sent:?}");
}

#[test]
fn both_paths_of_a_burst_are_sent_and_received() {
    let (mut a, mut b) = sites();
    second_path(&mut a, &mut b, 300);
    let burst: Vec<Vec<u8>> = (1..40).map(|id| packet(id, 0, 900)).collect();
    let mut wan = a.receive(TRUNK, &burst).on(UPLINK);
    // The other side has one data port; the second path's records only look as if for another.
    for record in &mut wan {
        record[36..38].copy_from_slice(&443u16.to_be_bytes());
    }
    let got: HashSet<Vec<u8>> = b.receive(UPLINK, &wan).on(TRUNK).into_iter().collect();
    assert_eq!(got, burst.into_iter().collect(), "pieces find each other on each path");
    assert!([0, 1].into_iter().all(|path| b.counters.path(0, path).expect("a path").rx_records.get() > 0));
}

#[test]
fn a_probe_is_as_large_as_it_is_meant_to_be() {
    let (mut a, mut b) = sites();
    for record in [100, 1472, 1600] {
        let block: ArrayVec<u8, 64> = [3, 1, 2, 3, 4, 5, 6, 7, 8].into_iter().collect();
        let command = Command::SendControl { session: SESSION, path: 0, to: None, block, record };
        let wan = a.command(command).on(UPLINK);
        assert_eq!(wan.len(), 1);
        assert_eq!(wan[0].len(), 14 + 28 + usize::from(record));
        b.receive(UPLINK, &wan);
        let events: Vec<Event> = b.events.try_iter().collect();
        let [Event::Control { octets, block, path: 0, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((*octets, &block[..9]), (record, &[3, 1, 2, 3, 4, 5, 6, 7, 8][..]));
    }
    assert_eq!(b.other_drops(&[]), []);
}

fn with_marks(site: &mut Site, marks: Marks) {
    let entry: &mut SessionEntry = site.tables.sessions[0].as_mut().expect("up");
    let path = entry.paths[0].path.as_mut().expect("a path");
    path.header = path.header.clone().map(|header| header.with_mark(Mark::dscp(marks.dscp)));
    path.marks = marks;
    if let PortRole::Uplink(uplink) = &mut site.tables.ports[1].role {
        uplink.ecn = marks.ecn;
    }
}

fn marks_of(site: &mut Site, packets: &[Vec<u8>]) -> Vec<u8> {
    let wan = site.receive(TRUNK, packets).on(UPLINK);
    assert!(wan.iter().all(|record| checksum::internet(&record[14..34]) == 0), "checksums are right");
    wan.iter().map(|record| mark::of_outer(record).0).collect()
}

#[test]
fn records_have_the_mark_that_is_configured_or_that_of_their_packets() {
    let (mut a, _) = sites();
    let burst = [
        packet(1, 0xb8, 50),
        packet(2, 0xb8, 50),
        packet(3, 0x2a, 50),
        packet(4, 0, 50),
        packet(5, 0x2b, 50),
    ];
    assert_eq!(marks_of(&mut a, &burst), [0], "nothing is told by default");
    with_marks(&mut a, Marks { dscp: 46, ..Marks::default() });
    assert_eq!(marks_of(&mut a, &burst), [0xb8]);
    with_marks(&mut a, Marks { copy: true, ..Marks::default() });
    assert_eq!(marks_of(&mut a, &burst), [0xb8, 0x28, 0, 0x28], "a record for each");
    with_marks(&mut a, Marks { dscp: 10, ecn: true, ..Marks::default() });
    assert_eq!(
        marks_of(&mut a, &burst),
        [0x28, 0x2a, 0x28, 0x2a],
        "congestion before the tunnel stays inside"
    );
    with_marks(&mut a, Marks { copy: true, ecn: true, dscp: 0 });
    assert_eq!(marks_of(&mut a, &burst), [0xb8, 0x2a, 0, 0x2a]);
    // Of a frame in three records: where it does not begin, a mark would be lost.
    assert_eq!(marks_of(&mut a, &[packet(1, 2, 4000)]), [2, 0, 0]);
}

#[test]
fn congestion_on_the_way_is_told_to_the_packets_that_asked() {
    let (mut a, mut b) = sites();
    let marks = Marks { copy: false, ecn: true, dscp: 0 };
    with_marks(&mut a, marks);
    let burst = [packet(1, 2, 50), packet(2, 2, 50), packet(3, 0, 50)];
    let mut wan = a.receive(TRUNK, &burst).on(UPLINK);
    assert_eq!(wan.len(), 2);
    for record in &mut wan {
        Mark(mark::of_outer(record).0 | 3).write(record, 14, true);
    }
    let again = wan.clone();
    assert_eq!(b.receive(UPLINK, &wan[..1]).on(TRUNK), burst[..2], "not asked to listen");
    let (mut c, mut d) = sites();
    with_marks(&mut c, marks);
    with_marks(&mut d, marks);
    c.receive(TRUNK, &burst);
    let got = d.receive(UPLINK, &again).on(TRUNK);
    assert_eq!(got, [packet(1, 3, 50), packet(2, 3, 50), packet(3, 0, 50)]);
}
