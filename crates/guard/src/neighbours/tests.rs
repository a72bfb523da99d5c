use super::*;
use bridge::{AttachmentIndex, RemoteIndex, SessionIndex};
use std::net::Ipv4Addr;
use wire::arp::ArpPacket;

const SEGMENT: SegmentIndex = SegmentIndex(2);
const LAN: Endpoint = Endpoint::Attachment(AttachmentIndex(0));
const SITE: Endpoint = Endpoint::Session(SessionIndex(0));
const LIFE: Duration = Duration::from_secs(300);
const OWN: MacAddr = MacAddr([2, 9, 9, 9, 9, 9]);

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn ip4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn arp(operation: u16, sender: u8, target: u8) -> Vec<u8> {
    let packet = ArpPacket::new(operation, (mac(sender), ip4(sender)), (mac(target), ip4(target)));
    [&[8, 6][..], &packet.to_bytes()].concat()
}

/// Host `n` answers something, at `from`.
fn tells(neighbours: &mut Neighbours, now: u64, n: u8, from: Endpoint) {
    let rest = arp(ArpPacket::REPLY, n, 200);
    let frame = Frame { segment: SEGMENT, from, src: mac(n), rest: &rest, held: false };
    assert_eq!(neighbours.take(seconds(now), LIFE, frame, |_| None), Verdict::PassOn);
}

/// Host `n` at `from` asks everybody for `target`, which the FDB knows at `at`.
fn asks(
    n: &mut Neighbours,
    now: u64,
    asker: u8,
    from: Endpoint,
    target: u8,
    at: Option<Endpoint>,
) -> Verdict {
    let rest = arp(ArpPacket::REQUEST, asker, target);
    let frame = Frame { segment: SEGMENT, from, src: mac(asker), rest: &rest, held: true };
    n.take(seconds(now), LIFE, frame, |_| at)
}

#[test]
fn who_is_known_on_the_other_side_is_answered_for() {
    let mut neighbours = Neighbours::default();
    assert_eq!(asks(&mut neighbours, 0, 1, LAN, 2, None), Verdict::PassOn, "nobody is known");
    tells(&mut neighbours, 1, 2, SITE);
    let verdict = asks(&mut neighbours, 2, 1, LAN, 2, Some(SITE));
    let rest = arp(ArpPacket::REPLY, 2, 1);
    assert_eq!(verdict, Verdict::Answer { src: mac(2), rest });
    assert_eq!(asks(&mut neighbours, 2, 1, LAN, 2, None), Verdict::PassOn, "the FDB has lost it");
    assert_eq!(asks(&mut neighbours, 2, 3, SITE, 2, Some(SITE)), Verdict::Stays, "same side");
    let vtep = |n| Endpoint::Vtep(AttachmentIndex(7), RemoteIndex(n));
    assert_eq!(asks(&mut neighbours, 2, 3, vtep(1), 2, Some(vtep(2))), Verdict::Stays, "the underlay's");
    assert_eq!(asks(&mut neighbours, 302, 1, LAN, 2, Some(SITE)), Verdict::PassOn, "too old");
    let known: Vec<IpAddr> = neighbours.all().into_iter().map(|(_, address, _)| address).collect();
    assert_eq!(known, [1, 2, 3].map(|n| IpAddr::V4(ip4(n))), "who asks is known too");
    assert_eq!(neighbours.tally().answered, 1);
}

#[test]
fn an_address_that_two_hosts_claim_is_nobodys_for_a_while() {
    let mut neighbours = Neighbours::default();
    tells(&mut neighbours, 1, 2, SITE);
    let packet = ArpPacket::new(ArpPacket::REPLY, (mac(9), ip4(2)), (mac(1), ip4(1)));
    let rest = [&[8, 6][..], &packet.to_bytes()].concat();
    let frame = Frame { segment: SEGMENT, from: LAN, src: mac(9), rest: &rest, held: false };
    neighbours.take(seconds(2), LIFE, frame, |_| None);
    assert_eq!(asks(&mut neighbours, 3, 1, LAN, 2, Some(SITE)), Verdict::PassOn);
    assert!(
        matches!(asks(&mut neighbours, 33, 1, LAN, 2, Some(SITE)), Verdict::Answer { src, .. } if src == mac(9))
    );
    // One that changes hands after a silence is simply another's.
    neighbours.take(seconds(60), LIFE, Frame { src: mac(9), ..frame }, |_| None);
    tells(&mut neighbours, 100, 2, SITE);
    assert!(
        matches!(asks(&mut neighbours, 101, 1, LAN, 2, Some(SITE)), Verdict::Answer { src, .. } if src == mac(2))
    );
}

#[test]
fn silent_hosts_are_asked_and_who_does_not_answer_is_forgotten() {
    let mut neighbours = Neighbours::default();
    tells(&mut neighbours, 0, 2, SITE);
    tells(&mut neighbours, 0, 3, LAN);
    assert_eq!(neighbours.due(seconds(224), LIFE, OWN), []);
    let questions = neighbours.due(seconds(225), LIFE, OWN);
    let asked: Vec<(MacAddr, Endpoint)> =
        questions.iter().map(|question| (question.dst, question.at)).collect();
    assert_eq!(asked, [(mac(2), SITE), (mac(3), LAN)]);
    assert_eq!(neighbours.due(seconds(226), LIFE, OWN), [], "they have time");
    tells(&mut neighbours, 227, 3, LAN);
    let again: Vec<MacAddr> =
        (228..300).flat_map(|at| neighbours.due(seconds(at), LIFE, OWN)).map(|q| q.dst).collect();
    assert_eq!(again, [mac(2); 3]);
    neighbours.due(seconds(300), LIFE, OWN);
    assert_eq!(neighbours.all().len(), 1, "host 2 is gone");
    assert_eq!(neighbours.all()[0].2.mac, mac(3));
}

#[test]
fn routers_are_only_answered_for_when_they_have_said_so() {
    let mut neighbours = Neighbours::default();
    let host: IpAddr = "fd00::2".parse().expect("an address");
    let asker: IpAddr = "fd00::1".parse().expect("an address");
    let solicitation = |from: MacAddr, address| frames::question(from, address);
    // Host 2 asks for something: it is known, but not what it is.
    let mut rest = solicitation(mac(2), asker);
    let IpAddr::V6(source) = host else { panic!("IPv6") };
    rest[10..26].copy_from_slice(&source.octets());
    let frame = Frame { segment: SEGMENT, from: SITE, src: mac(2), rest: &rest, held: true };
    assert_eq!(neighbours.take(seconds(0), LIFE, frame, |_| None), Verdict::PassOn);
    let asks = solicitation(mac(1), host);
    let frame = Frame { segment: SEGMENT, from: LAN, src: mac(1), rest: &asks, held: true };
    assert_eq!(neighbours.take(seconds(1), LIFE, frame, |_| Some(SITE)), Verdict::PassOn);
    let rest = frames::answer((host, mac(2), true), (asker, mac(1))).expect("one family");
    let told = Frame { segment: SEGMENT, from: SITE, src: mac(2), rest: &rest, held: false };
    neighbours.take(seconds(2), LIFE, told, |_| None);
    let verdict = neighbours.take(seconds(3), LIFE, frame, |_| Some(SITE));
    let Verdict::Answer { src, rest } = verdict else { panic!("{verdict:?}") };
    assert_eq!((src, rest[2 + 40 + 4]), (mac(2), 0xc0), "router, solicited");
}

#[test]
fn hosts_move_and_parts_are_forgotten() {
    let mut neighbours = Neighbours::default();
    tells(&mut neighbours, 0, 2, SITE);
    tells(&mut neighbours, 0, 3, SITE);
    neighbours.moved(SEGMENT, mac(2), LAN);
    assert_eq!(neighbours.all()[0].2.at, LAN);
    assert_eq!(neighbours.forget(|_, neighbour| neighbour.at == SITE), 1);
    assert_eq!(neighbours.all().len(), 1);
    assert_eq!(neighbours.due(seconds(280), LIFE, OWN).len(), 1, "and their turns with them");
}

#[test]
fn a_host_that_moves_takes_all_its_addresses_with_it_and_leaves_nothing_behind() {
    let mut neighbours = Neighbours::default();
    let claims = |neighbours: &mut Neighbours, host: u8, address: u8, from| {
        let packet = ArpPacket::new(ArpPacket::REPLY, (mac(host), ip4(address)), (mac(1), ip4(1)));
        let rest = [&[8, 6][..], &packet.to_bytes()].concat();
        let frame = Frame { segment: SEGMENT, from, src: mac(host), rest: &rest, held: false };
        neighbours.take(seconds(1), LIFE, frame, |_| None);
    };
    let places = |neighbours: &Neighbours| -> Vec<(MacAddr, Endpoint)> {
        neighbours.all().into_iter().map(|(.., known)| (known.mac, known.at)).collect()
    };
    for address in [10, 11] {
        claims(&mut neighbours, 2, address, SITE);
    }
    neighbours.moved(SEGMENT, mac(2), LAN);
    assert_eq!(places(&neighbours), [(mac(2), LAN); 2]);
    claims(&mut neighbours, 3, 10, SITE);
    assert_eq!(places(&neighbours), [(mac(3), SITE), (mac(2), LAN)]);
    claims(&mut neighbours, 3, 11, SITE);
    assert_eq!(neighbours.hosts.len(), 1, "host 2 has no address any more");
    assert_eq!(neighbours.forget(|_, _| true), 2);
    assert!(neighbours.hosts.is_empty());
    neighbours.moved(SEGMENT, mac(3), LAN);
}

#[test]
fn a_flood_of_addresses_takes_nothing_from_those_who_are_known() {
    let mut neighbours = Neighbours::default();
    tells(&mut neighbours, 0, 2, SITE);
    for n in 0..MOST_OF_SEGMENT as u32 + 10 {
        let address = Ipv4Addr::from(0x0b00_0000 + n);
        let packet = ArpPacket::new(ArpPacket::REPLY, (mac(7), address), (mac(1), ip4(1)));
        let rest = [&[8, 6][..], &packet.to_bytes()].concat();
        let frame = Frame { segment: SEGMENT, from: LAN, src: mac(7), rest: &rest, held: false };
        neighbours.take(seconds(1), LIFE, frame, |_| None);
    }
    assert_eq!((neighbours.all().len(), neighbours.tally().refused), (MOST_OF_SEGMENT, 11));
    assert!(matches!(asks(&mut neighbours, 2, 1, LAN, 2, Some(SITE)), Verdict::Answer { .. }));
    assert!(neighbours.due(seconds(290), LIFE, OWN).len() <= ASKED_AT_ONCE);
}
