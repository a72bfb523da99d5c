//! Loop guards of several appliances in a network of cables and tunnels, in virtual time.
#![allow(missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bridge::{AttachmentIndex, Endpoint, SegmentIndex, SessionIndex};
use guard::probe::{Member, ProbeKey};
use guard::{BrokenBy, Finding, LoopGuard, LoopSettings, Mode, Output, Sessions, State, Through, Watched};

const STEP: Duration = Duration::from_millis(5);

/// An attachment, by the appliance's number and its own.
type Socket = (usize, u16);

/// Appliances, the cables between their attachments, and the sessions between them. Every attachment meets one local network;
/// a local network is a number.
struct World {
    now: Duration,
    guards: Vec<LoopGuard>,
    /// The segment and the network of each attachment.
    attachments: BTreeMap<Socket, (u16, u32)>,
    /// The attachments on each network.
    on: BTreeMap<u32, Vec<Socket>>,
    /// Pairs of networks that a cable joins; `true`: in both directions.
    cables: Vec<(u32, u32, bool)>,
    tunnels: Vec<(usize, usize)>,
    found: Vec<(usize, Finding)>,
    /// How often what was learned was said to be wrong.
    unsettled: usize,
    probes: usize,
    mode: Mode,
    /// Appliances that do not look for loops.
    off: Vec<usize>,
    spoke_to_spoke: bool,
    /// Networks that send back what they get, and how often.
    reflecting: BTreeMap<u32, usize>,
}

impl World {
    /// Appliances by name; the first of each tunnel is the server.
    fn new(names: &[&str], tunnels: &[(usize, usize)]) -> Self {
        let member = |(at, name): (usize, &&str)| {
            let client = tunnels.iter().any(|(_, client)| *client == at);
            Member::new(client, name, [at as u8; 7])
        };
        let members = names.iter().enumerate().map(member);
        let guard = |(at, member)| LoopGuard::new(member, ProbeKey::new(&[at; 32]), LoopSettings::default());
        Self {
            now: Duration::from_secs(10),
            guards: (0..).zip(members).map(guard).collect(),
            attachments: BTreeMap::new(),
            on: BTreeMap::new(),
            cables: Vec::new(),
            tunnels: tunnels.into(),
            found: Vec::new(),
            unsettled: 0,
            probes: 0,
            mode: Mode::Block,
            off: Vec::new(),
            spoke_to_spoke: true,
            reflecting: BTreeMap::new(),
        }
    }

    /// Attachment `at` of an appliance is in a segment and on a network.
    fn attach(&mut self, appliance: usize, at: u16, segment: u16, network: u32) {
        self.attachments.insert((appliance, at), (segment, network));
        self.on.entry(network).or_default().push((appliance, at));
    }

    fn arrange(&mut self) {
        let mut segments: Vec<u16> = self.attachments.values().map(|(segment, _)| *segment).collect();
        segments.sort_unstable();
        segments.dedup();
        for appliance in 0..self.guards.len() {
            let watched = |((_, at), (segment, _)): (&Socket, &(u16, u32))| Watched {
                at: AttachmentIndex(*at),
                segment: SegmentIndex(*segment),
                tunnel: 10 + segment,
                mode: if self.off.contains(&appliance) { Mode::Off } else { self.mode },
                label: format!("site {appliance} port {at}"),
            };
            let own = self.attachments.iter().filter(|((of, _), _)| *of == appliance).map(watched).collect();
            let all = self.sessions(appliance).map(|(index, _)| index).collect();
            let sessions = Sessions { all, spoke_to_spoke: self.spoke_to_spoke };
            let sessions = segments.iter().map(|segment| (SegmentIndex(*segment), sessions.clone()));
            let client = self.tunnels.iter().any(|(_, client)| *client == appliance);
            self.guards[appliance].arrange(
                self.now,
                LoopSettings::default(),
                own,
                sessions.collect::<HashMap<_, _>>(),
                client,
            );
        }
    }

    /// The sessions of an appliance, with who is at the other end.
    fn sessions(&self, appliance: usize) -> impl Iterator<Item = (SessionIndex, usize)> + '_ {
        let ends = self.tunnels.iter().filter_map(move |(server, client)| match appliance {
            a if a == *server => Some(*client),
            a if a == *client => Some(*server),
            _ => None,
        });
        (0..).map(SessionIndex).zip(ends)
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            for appliance in 0..self.guards.len() {
                self.guards[appliance].handle_timeout(self.now);
            }
            self.settle();
            self.now += STEP;
        }
    }

    /// Delivers until nothing is under way.
    fn settle(&mut self) {
        let mut deliveries = 0;
        loop {
            let mut quiet = true;
            for appliance in 0..self.guards.len() {
                while let Some(output) = self.guards[appliance].poll_output() {
                    quiet = false;
                    match output {
                        Output::Send { segment, to, rest } => {
                            deliveries += 1;
                            assert!(deliveries < 10_000, "a storm of probes");
                            self.deliver(appliance, segment, to, &rest);
                        }
                        Output::Found(finding) => self.found.push((appliance, finding)),
                        Output::Unsettled(_) => self.unsettled += 1,
                        Output::Changed(_) | Output::Passing(_) => {}
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn deliver(&mut self, from: usize, segment: SegmentIndex, to: Endpoint, rest: &[u8]) {
        self.probes += 1;
        match to {
            Endpoint::Session(index) => {
                let peer = self.sessions(from).find(|(at, _)| *at == index).map(|(_, peer)| peer);
                let peer = peer.expect("a session");
                let back = self.sessions(peer).find(|(_, other)| *other == from).expect("the other end").0;
                self.guards[peer].heard(self.now, segment, Endpoint::Session(back), rest);
            }
            Endpoint::Attachment(at) | Endpoint::Vtep(at, _) => {
                let (_, network) = self.attachments[&(from, at.0)];
                for ((appliance, other), count) in self.reached(network, (from, at.0)) {
                    let (segment, _) = self.attachments[&(appliance, other)];
                    for _ in 0..count {
                        let endpoint = Endpoint::Attachment(AttachmentIndex(other));
                        self.guards[appliance].heard(self.now, SegmentIndex(segment), endpoint, rest);
                    }
                }
            }
        }
    }

    /// The attachments that a frame on a network reaches, by any number of cables.
    fn reached(&self, network: u32, from: Socket) -> Vec<(Socket, usize)> {
        let mut networks = vec![network];
        let mut at = 0;
        while let Some(network) = networks.get(at).copied() {
            for (a, b, both) in &self.cables {
                let next = match network {
                    n if n == *a => *b,
                    n if n == *b && *both => *a,
                    _ => continue,
                };
                if !networks.contains(&next) {
                    networks.push(next);
                }
            }
            at += 1;
        }
        let count = |socket: &Socket, network: u32| match *socket == from {
            true => self.reflecting.get(&network).copied().unwrap_or(0),
            false => 1,
        };
        let on = |network: &u32| {
            let sockets = self.on.get(network).into_iter().flatten();
            sockets.map(|socket| (*socket, count(socket, *network))).collect::<Vec<_>>()
        };
        networks.iter().flat_map(on).filter(|(_, count)| *count > 0).collect()
    }

    fn states(&self) -> Vec<(Socket, State)> {
        let state = |(appliance, at): &Socket| self.guards[*appliance].state(AttachmentIndex(*at));
        self.attachments.keys().map(|socket| (*socket, state(socket))).collect()
    }

    fn blocked(&self) -> Vec<Socket> {
        self.states().into_iter().filter(|(_, state)| *state == State::Blocked).map(|(at, _)| at).collect()
    }

    fn loops(&self, appliance: usize) -> Vec<(u16, Through, BrokenBy)> {
        let all = self.guards[appliance].loops();
        all.map(|found| (found.at.0, found.through.clone(), found.broken_by)).collect()
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn two_sites() -> World {
    let mut world = World::new(&["server", "branch"], &[(0, 1)]);
    world.attach(0, 0, 0, 100);
    world.attach(1, 0, 0, 200);
    world.arrange();
    world
}

#[test]
fn attachments_listen_and_then_forward() {
    let mut world = two_sites();
    world.run(ms(250));
    assert!(world.states().iter().all(|(_, state)| *state == State::Listening));
    world.run(ms(200));
    assert!(world.states().iter().all(|(_, state)| *state == State::Forwarding));
    world.run(Duration::from_secs(60));
    assert_eq!(world.blocked(), []);
    assert_eq!(world.found, []);
    assert!(world.probes < 520, "four a second and attachment: {}", world.probes);
}

#[test]
fn a_cable_between_two_attachments_is_broken_at_the_later_one() {
    let mut world = World::new(&["server"], &[]);
    world.attach(0, 3, 0, 100);
    world.attach(0, 7, 0, 101);
    world.arrange();
    world.run(ms(1000));
    world.cables.push((100, 101, true));
    world.run(ms(300));
    assert_eq!(world.blocked(), [(0, 7)]);
    let through = Through::Attachment(AttachmentIndex(3));
    assert_eq!(world.loops(0), [(7, through, BrokenBy::Us)]);
    world.run(Duration::from_secs(30));
    assert_eq!(world.blocked(), [(0, 7)], "for as long as the cable is there");
    assert_eq!(world.found.len(), 1, "told once");
    world.cables.clear();
    world.run(Duration::from_secs(10));
    assert_eq!((world.blocked(), world.loops(0)), (vec![], vec![]));
    assert!(matches!(world.found.last(), Some((0, Finding::Gone(_)))));
}

#[test]
fn a_cable_between_two_sites_is_broken_by_the_client_and_named_at_both_ends() {
    let mut world = two_sites();
    world.run(ms(1000));
    world.cables.push((100, 200, true));
    world.run(ms(300));
    assert_eq!(world.blocked(), [(1, 0)]);
    world.run(ms(700));
    assert_eq!(world.loops(1), [(0, Through::Site("site 0 port 0".into()), BrokenBy::Us)]);
    assert_eq!(world.loops(0), [(0, Through::Site("site 1 port 0".into()), BrokenBy::Others)]);
    world.run(Duration::from_secs(60));
    assert_eq!(world.blocked(), [(1, 0)]);
    world.cables.clear();
    world.run(Duration::from_secs(10));
    assert_eq!(world.blocked(), []);
    assert!(world.states().iter().all(|(_, state)| *state == State::Forwarding));
}

#[test]
fn a_loop_that_is_there_already_never_gets_a_frame() {
    let mut world = two_sites();
    world.cables.push((100, 200, true));
    for _ in 0..1000 {
        world.run(STEP);
        let forwarding = world.states().iter().filter(|(_, state)| *state == State::Forwarding).count();
        assert!(forwarding < 2, "both forward at {:?}", world.now);
    }
    assert_eq!(world.blocked(), [(1, 0)]);
}

#[test]
fn two_spokes_joined_behind_the_hub_are_broken_at_the_later_name() {
    let mut world = joined_spokes();
    let cables = std::mem::take(&mut world.cables);
    world.arrange();
    world.run(ms(1000));
    world.cables = cables;
    world.run(ms(500));
    assert_eq!(world.blocked(), [(1, 0)], "paris comes after oslo");
    world.run(ms(500));
    assert_eq!(world.loops(2), [(0, Through::Site("site 1 port 0".into()), BrokenBy::Others)]);
    let passing: Vec<String> = world.guards[0].passing().map(|passing| passing.origin.clone()).collect();
    assert_eq!(passing.len(), 2, "the hub sees it too: {passing:?}");
    world.cables.clear();
    world.run(Duration::from_secs(10));
    assert_eq!(world.blocked(), []);
    assert_eq!(world.guards[0].passing().count(), 0);
}

/// Two spokes with names in this order, whose networks a cable joins, behind a hub.
fn joined_spokes() -> World {
    let mut world = World::new(&["server", "paris", "oslo"], &[(0, 1), (0, 2)]);
    for appliance in 0..3 {
        world.attach(appliance, 0, 0, appliance as u32);
    }
    world.cables.push((1, 2, true));
    world
}

#[test]
fn a_hub_that_looks_for_nothing_hides_no_loop_between_others() {
    let mut world = joined_spokes();
    world.off.push(0);
    world.arrange();
    world.run(ms(100));
    assert_eq!(world.states()[0].1, State::Forwarding, "it listens to nothing");
    world.run(ms(900));
    assert_eq!(world.blocked(), [(1, 0)]);
    assert_eq!(world.guards[0].passing().count(), 2);
    assert_eq!(world.loops(0), []);
    // It sends no probe of its own, and forgets others' nevertheless.
    world.cables.clear();
    world.off = vec![0, 1, 2];
    world.arrange();
    world.run(ms(10));
    let before = world.probes;
    world.run(Duration::from_secs(5));
    assert_eq!((world.probes, world.guards[0].passing().count(), world.blocked()), (before, 0, vec![]));
    assert!(world.guards.iter().all(|guard| guard.deadline() == Duration::MAX));
}

#[test]
fn probes_pass_between_sites_only_where_their_frames_do() {
    let mut world = joined_spokes();
    world.spoke_to_spoke = false;
    world.arrange();
    world.run(Duration::from_secs(2));
    assert_eq!(world.blocked(), [], "frames of the spokes end at the hub too");
    assert_eq!(world.guards[0].passing().count(), 2, "which sees what is the matter");
    world.spoke_to_spoke = true;
    world.arrange();
    world.run(ms(500));
    assert_eq!(world.blocked(), [(1, 0)]);
}

#[test]
fn origins_that_nobody_knows_unsettle_a_segment_now_and_then() {
    let mut world = two_sites();
    let unsettled = |world: &mut World, from: u16, count: u16| {
        let guard = &mut world.guards[1];
        for n in from..from + count {
            let origin = Member::new(true, "nobody", [1, 2, 3, 4, 5, (n >> 8) as u8, n as u8]);
            let probe = guard::probe::Probe::new(&ProbeKey::new(&[7; 32]), origin, 10, 0, 1);
            world.now += ms(10); // as fast as they are passed on
            let from = Endpoint::Attachment(AttachmentIndex(0));
            guard.heard(world.now, SegmentIndex(0), from, &probe.to_bytes());
        }
        let out: Vec<Output> = std::iter::from_fn(|| guard.poll_output()).collect();
        assert!(!out.contains(&Output::Unsettled(SegmentIndex(0))), "nobody has verified them");
        out.iter().filter(|out| **out == Output::Passing(SegmentIndex(0))).count()
    };
    assert_eq!(unsettled(&mut world, 0, 255), 1);
    assert_eq!(unsettled(&mut world, 255, 1000), 0, "there is no room for more");
    world.run(Duration::from_secs(15));
    assert_eq!(unsettled(&mut world, 2000, 1), 1, "after a while");
    world.off.push(1);
    world.arrange();
    world.run(Duration::from_secs(15));
    assert_eq!(unsettled(&mut world, 3000, 1), 0, "what is not guarded is left alone");
}

#[test]
fn what_was_blocked_forwards_when_it_is_only_watched() {
    let mut world = two_sites();
    world.cables.push((100, 200, true));
    world.run(ms(1000));
    assert_eq!(world.blocked(), [(1, 0)]);
    world.found.clear();
    world.mode = Mode::Watch;
    world.arrange();
    assert_eq!(world.states()[1].1, State::Forwarding, "at once");
    world.run(ms(500));
    assert_eq!(world.loops(1)[0].2, BrokenBy::Nobody);
    assert!(matches!(&world.found[..], [(1, Finding::Loop(_))]), "told again: {:?}", world.found);
    world.mode = Mode::Block;
    world.arrange();
    world.run(ms(500));
    assert_eq!(world.blocked(), [(1, 0)]);
}

#[test]
fn a_second_tunnel_between_the_same_networks_is_broken_once() {
    // Two pairs that know nothing of each other.
    let mut world = World::new(&["hq", "branch", "other hq", "other"], &[(0, 1), (2, 3)]);
    for (appliance, network) in [(0, 100), (1, 200), (2, 100), (3, 200)] {
        world.attach(appliance, 0, 0, network);
    }
    world.arrange();
    world.run(Duration::from_secs(2));
    assert_eq!(world.blocked(), [(3, 0)], "the last in the order, and no other");
    world.run(Duration::from_secs(30));
    assert_eq!(world.blocked(), [(3, 0)]);
    for appliance in 0..3 {
        assert_eq!(world.loops(appliance)[0].2, BrokenBy::Others, "appliance {appliance}");
    }
}

#[test]
fn three_sites_on_one_network_leave_one_way() {
    let mut world = World::new(&["server", "a", "b"], &[(0, 1), (0, 2)]);
    for appliance in 0..3 {
        world.attach(appliance, 0, 0, 100);
    }
    world.arrange();
    world.run(Duration::from_secs(60));
    assert_eq!(world.blocked(), [(1, 0), (2, 0)]);
}

#[test]
fn a_loop_of_one_direction_is_broken_by_who_sees_it() {
    // What the server sends reaches the client's network, and not the other way round.
    let mut world = two_sites();
    world.run(ms(1000));
    world.cables.push((100, 200, false));
    world.run(ms(1000));
    assert_eq!(world.blocked(), [(0, 0)], "only the server's probes come back");
    world.cables.clear();
    world.run(Duration::from_secs(10));
    assert_eq!(world.blocked(), []);
}

#[test]
fn a_loop_that_comes_and_goes_is_held_longer_each_time() {
    let mut world = two_sites();
    world.run(ms(1000));
    let mut holds = Vec::new();
    for _ in 0..4 {
        world.cables.push((100, 200, true));
        world.run(ms(500));
        assert_eq!(world.blocked(), [(1, 0)]);
        world.cables.clear();
        let start = world.now;
        while !world.states().iter().all(|(_, state)| *state == State::Forwarding) {
            world.run(ms(100));
        }
        holds.push((world.now - start).as_secs());
    }
    assert_eq!(holds, [3, 6, 12, 24]);
    world.run(Duration::from_secs(600));
    world.cables.push((100, 200, true));
    world.run(ms(500));
    world.cables.clear();
    world.run(Duration::from_secs(4));
    assert_eq!(world.blocked(), [], "and forgiven in the end");
}

#[test]
fn reflections_are_told_and_do_not_block() {
    let mut world = two_sites();
    world.reflecting.insert(100, 1);
    world.run(Duration::from_secs(5));
    assert_eq!(world.blocked(), []);
    assert!(world.guards[0].reflects(AttachmentIndex(0)) && !world.guards[1].reflects(AttachmentIndex(0)));
    assert_eq!(world.found, [(0, Finding::Reflects(AttachmentIndex(0), true))]);
    assert_eq!(world.unsettled, 1, "what came back before was learned wrongly");
    world.reflecting.clear();
    world.run(Duration::from_secs(40));
    assert!(!world.guards[0].reflects(AttachmentIndex(0)));
}

#[test]
fn a_local_network_with_a_loop_of_its_own_is_cut_off() {
    let mut world = two_sites();
    world.run(ms(1000));
    world.reflecting.insert(200, 50);
    world.run(ms(500));
    assert_eq!(world.blocked(), [(1, 0)]);
    assert_eq!(world.loops(1), [(0, Through::Itself, BrokenBy::Us)]);
    world.reflecting.clear();
    world.run(Duration::from_secs(10));
    assert_eq!(world.blocked(), []);
}

#[test]
fn joined_segments_are_told_and_a_loop_through_both_is_broken() {
    let mut world = World::new(&["server", "branch"], &[(0, 1)]);
    for (appliance, at, segment, network) in [(0, 0, 0, 100), (0, 1, 1, 101), (1, 0, 0, 200), (1, 1, 1, 201)]
    {
        world.attach(appliance, at, segment, network);
    }
    world.arrange();
    world.run(ms(1000));
    world.cables.push((100, 101, true));
    world.run(Duration::from_secs(5));
    assert_eq!(world.blocked(), [], "joined at one site only: no loop");
    assert_eq!(world.found, [(0, Finding::Joined(AttachmentIndex(0), AttachmentIndex(1)))]);
    world.cables.push((200, 201, true));
    world.run(ms(1000));
    assert!(world.blocked().iter().any(|(appliance, _)| *appliance == 1), "{:?}", world.blocked());
    assert!(world.blocked().iter().all(|(appliance, _)| *appliance == 1), "{:?}", world.blocked());
}

#[test]
fn watching_breaks_nothing() {
    let mut world = two_sites();
    world.mode = Mode::Watch;
    world.arrange();
    world.cables.push((100, 200, true));
    world.run(Duration::from_secs(5));
    assert_eq!(world.blocked(), []);
    assert_eq!(world.loops(1)[0].2, BrokenBy::Nobody);
    assert_eq!(world.found.len(), 2, "each end once: {:?}", world.found);
}

#[test]
fn an_operator_can_release() {
    let mut world = two_sites();
    world.cables.push((100, 200, true));
    world.run(ms(1000));
    world.cables.clear();
    let now = world.now;
    world.guards[1].release(now);
    world.run(ms(400));
    assert_eq!(world.states()[1].1, State::Forwarding);
}

#[test]
fn old_and_forged_probes_mean_nothing() {
    let mut world = two_sites();
    world.run(ms(1000));
    let at = Endpoint::Session(SessionIndex(0));
    let me = Member::new(true, "branch", [1; 7]);
    let now = world.now.as_micros() as u64;
    let through = |key: u8, sent: u64| {
        let mut probe = guard::probe::Probe::new(&ProbeKey::new(&[key; 32]), me, 10, 0, sent);
        probe.passed.push(Member::new(false, "server", [0; 7]));
        probe.to_bytes()
    };
    let guard = &mut world.guards[1];
    for rest in [through(9, now), through(1, now - 3_000_000), through(1, now + 1_000_000), vec![1, 2, 3]] {
        guard.heard(world.now, SegmentIndex(0), at, &rest);
        assert_eq!(guard.state(AttachmentIndex(0)), State::Forwarding);
    }
    guard.heard(world.now, SegmentIndex(0), at, &through(1, now));
    assert_eq!(guard.state(AttachmentIndex(0)), State::Blocked, "a good one does");
}

#[test]
fn many_attachments_are_probed_evenly_and_not_too_often() {
    let mut world = World::new(&["server"], &[]);
    for at in 0..4093 {
        world.attach(0, at, at, u32::from(at));
    }
    world.arrange();
    world.run(Duration::from_secs(4));
    assert!(world.states().iter().all(|(_, state)| *state == State::Forwarding));
    let (before, start) = (world.probes, world.now);
    let (mut least, mut most) = (usize::MAX, 0);
    while world.now < start + Duration::from_secs(4) {
        let before = world.probes;
        world.run(STEP);
        (least, most) = (least.min(world.probes - before), most.max(world.probes - before));
    }
    let a_second = (world.probes - before) / 4;
    assert!((5000..5240).contains(&a_second), "{a_second} a second");
    // 25.6 in each 5 ms: no burst, and no pause.
    assert!(least >= 20 && most <= 32, "{least} to {most} at once");
}

#[test]
fn a_loop_among_many_attachments_is_broken_within_a_second() {
    let mut world = World::new(&["server"], &[]);
    for at in 0..4093 {
        world.attach(0, at, at, u32::from(at));
    }
    // Some segments have a second attachment.
    let pairs = [(3, 4093), (1000, 4094), (2222, 4095), (4092, 4096)];
    for (segment, second) in pairs {
        world.attach(0, second, segment, u32::from(second));
    }
    world.arrange();
    world.run(Duration::from_secs(4));
    assert_eq!(world.blocked(), []);
    for (number, (segment, second)) in (1..).zip(pairs) {
        world.run(ms(130));
        world.cables.push((u32::from(segment), u32::from(second), true));
        let since = world.now;
        while world.blocked().len() < number {
            world.run(STEP);
            assert!(world.now - since < ms(1000), "segment {segment} still goes round");
        }
    }
    assert_eq!(world.blocked(), pairs.map(|(_, second)| (0, second)));
}
