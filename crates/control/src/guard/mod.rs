//! What watches over the segments: feeds news of the traffic to the state machines of crate `guard`, and does what they say.

mod log;
mod neighbours;
mod show;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bridge::{AttachmentIndex, Endpoint, Reflections, SegmentIndex, SessionIndex};
use config::{Config, LoopGuardMode, Mode};
use guard::probe::{Member, ProbeKey};
use guard::{
    LoopGuard, LoopSettings, Mode as GuardMode, MoveLimits, Moves, Neighbours, Output, Sessions, State,
    Watched,
};
use pipeline::command::Command;
use pipeline::notice::{Notice, OwnFrame, Seen, Target};
use pipeline::tables::AttachmentState;
use session::{Now, SessionView};
use wire::arp::ArpPacket;
use wire::mac::MacAddr;

use crate::appliance::Appliance;
use crate::layout::Layout;
use crate::random::OsRandom;

/// What was learned while there was a loop is forgotten so long after news of it: workers forward by the new tables by then. And
/// once more, since others may have needed longer.
const FORGET_AFTER: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// News that are taken in one round.
const AT_ONCE: usize = 4096;

/// The guard of the appliance.
pub(crate) struct Guard {
    loops: LoopGuard,
    moves: Moves,
    neighbours: Neighbours,
    reflections: Arc<Reflections>,
    /// The source of our own frames.
    mac: MacAddr,
    /// What the appliance calls itself towards others.
    name: String,
    /// An address that moved when a loop was found.
    moved: HashMap<AttachmentIndex, MacAddr>,
    /// Segments whose addresses are to be forgotten, and when; and whether those that are held, and their moves, are too.
    unsettled: Vec<(Now, SegmentIndex, bool)>,
    second_due: Now,
    /// Whether configuration or sessions have changed since it was arranged.
    pub(crate) stale: bool,
}

impl Guard {
    /// The address that the appliance sends frames of its own from.
    pub(crate) fn mac(&self) -> MacAddr {
        self.mac
    }

    pub(crate) fn new(config: &Config) -> Self {
        let mut random = OsRandom::new();
        let (mut key, mut instance, mut mac) = ([0; 32], [0; 7], [0; 6]);
        random.fill(&mut key);
        random.fill(&mut instance);
        random.fill(&mut mac);
        // Of one station, and of local administration.
        mac[0] = mac[0] & 0xfc | 2;
        let (client, name) = match &config.mode {
            Mode::Server(_) => (false, "server"),
            Mode::Client(client) => (true, client.user.as_str()),
        };
        Self {
            loops: LoopGuard::new(Member::new(client, name, instance), ProbeKey::new(&key), settings(config)),
            moves: Moves::new(limits(config)),
            neighbours: Neighbours::default(),
            reflections: Arc::default(),
            mac: MacAddr(mac),
            name: name.chars().take(16).collect(),
            moved: HashMap::new(),
            unsettled: Vec::new(),
            second_due: Now::ZERO,
            stale: true,
        }
    }

    /// Whether frames pass an attachment.
    pub(crate) fn state(&self, at: AttachmentIndex) -> AttachmentState {
        match self.loops.state(at) {
            State::Listening => AttachmentState::Listening,
            State::Forwarding => AttachmentState::Forwarding,
            State::Blocked => AttachmentState::Blocked,
        }
    }

    /// Where to note what leaves by these attachments, if one of them gives back what it gets.
    pub(crate) fn reflections(&self, attachments: &[AttachmentIndex]) -> Option<Arc<Reflections>> {
        attachments.iter().any(|at| self.loops.reflects(*at)).then(|| Arc::clone(&self.reflections))
    }

    /// Makes what is guarded what the configuration and the sessions say.
    pub(crate) fn arrange(&mut self, now: Now, layout: &Layout, sessions: &[Option<SessionView>]) {
        let config = layout.config();
        self.moves.set_limits(limits(config));
        let mut watched = Vec::new();
        for (at, meeting) in (0..).map(AttachmentIndex).zip(layout.attachment_places()) {
            let Some(meeting) = meeting else { continue };
            // A gateway is the kernel, which does not bridge what it gets there.
            let (Some(port), Some(segment)) = (meeting.port, layout.segment(meeting.segment)) else {
                continue;
            };
            if segment.enabled {
                watched.push(Watched {
                    at,
                    segment: meeting.segment,
                    tunnel: segment.tunnel_id.get(),
                    mode: match segment.loop_guard {
                        LoopGuardMode::Off => GuardMode::Off,
                        LoopGuardMode::Watch => GuardMode::Watch,
                        LoopGuardMode::Block => GuardMode::Block,
                    },
                    label: format!("{} {} {}", self.name, config.ports[port].name, meeting.encap),
                });
            }
        }
        let mut joined: HashMap<u16, Vec<SessionIndex>> = HashMap::new();
        for (index, view) in (0..).map(SessionIndex).zip(sessions) {
            for (tunnel, _) in view.iter().flat_map(|view| view.segments.iter()) {
                joined.entry(tunnel.get()).or_default().push(index);
            }
        }
        let of_segment = |(index, segment): (SegmentIndex, &config::Segment)| {
            let all = joined.remove(&segment.tunnel_id.get()).unwrap_or_default();
            let spoke_to_spoke = segment.spoke_to_spoke;
            segment.enabled.then_some((index, Sessions { all, spoke_to_spoke }))
        };
        let sessions = layout.segments().filter_map(of_segment).collect();
        // One end of a tunnel listens when it comes up; a server would disturb its other sites.
        let wary = matches!(config.mode, Mode::Client(_));
        self.loops.arrange(now, settings(config), watched, sessions, wary);
    }
}

impl Appliance {
    /// What the workers tell of the traffic.
    pub(crate) fn worker_notices(&mut self) {
        let now = self.now();
        let notices: Vec<Notice> = self.parts.notices.try_iter().take(AT_ONCE).collect();
        for notice in notices {
            match notice {
                Notice::Frame(seen) if self.insight_notice(&seen) => {}
                Notice::Frame(seen) if seen.dst == MacAddr::LOOP_PROBE => {
                    let Seen { segment, from, rest, .. } = seen;
                    self.guard.loops.heard(now, segment, from, &rest);
                }
                Notice::Frame(seen) => self.neighbour(now, seen),
                Notice::Moved { segment, mac, from, to, announced } => {
                    self.moved(now, (segment, mac), from, to, announced);
                }
            }
        }
    }

    /// What is due of the guards, and what they want done.
    pub(crate) fn guard_round(&mut self, now: Now) {
        if now >= self.guard.loops.deadline() {
            self.guard.loops.handle_timeout(now);
        }
        while let Some(output) = self.guard.loops.poll_output() {
            match output {
                Output::Send { segment, to, rest } => {
                    let (dst, src) = (MacAddr::LOOP_PROBE, self.guard.mac);
                    self.send_frame(OwnFrame { segment, to: Target::Endpoint(to), dst, src, rest });
                }
                Output::Changed(_) => self.dirty = true,
                Output::Unsettled(segment) => self.unsettled(now, segment, true),
                Output::Passing(segment) => self.unsettled(now, segment, false),
                Output::Found(finding) => self.found(now, &finding),
            }
        }
        self.settle(now);
        if now >= self.guard.second_due {
            self.guard.second_due = now + Duration::from_secs(1);
            for (segment, mac) in self.guard.moves.due(now) {
                self.parts.fdb.pin(segment, mac, false);
                self.released(segment, mac);
            }
            for (segment, mac, at) in self.guard.moves.owed() {
                self.announce(segment, mac, at);
            }
            self.ask_silent(now);
            if let Some(suspect) = self.guard.moves.suspect(now) {
                self.suspected(&suspect);
            }
        }
    }

    /// Lets what is blocked listen again, as an operator wants it.
    pub(crate) fn clear_loops(&mut self) -> usize {
        let now = self.now();
        self.guard.loops.release(now)
    }

    /// Lets addresses move again: this one, or all.
    pub(crate) fn clear_duplicates(&mut self, wanted: Option<MacAddr>) -> usize {
        let released = self.guard.moves.forget(|_, mac| wanted.is_none_or(|wanted| wanted == mac));
        for (segment, mac) in &released {
            self.parts.fdb.pin(*segment, *mac, false);
        }
        released.len()
    }

    /// An address was seen at another place than before.
    pub(crate) fn moved(
        &mut self,
        now: Now,
        (segment, mac): (SegmentIndex, MacAddr),
        from: Endpoint,
        to: Endpoint,
        announced: bool,
    ) {
        self.guard.neighbours.moved(segment, mac, to);
        let verdict = self.guard.moves.moved(now, (segment, mac), from, to, announced);
        if verdict.pin {
            self.parts.fdb.pin(segment, mac, true);
            if verdict.news {
                self.pinned(segment, mac, from, to);
            }
        } else if verdict.tell {
            self.announce(segment, mac, to);
        }
    }

    /// Tells everybody where an address is. Others would go on sending to where it was, until it says something to everybody.
    fn announce(&mut self, segment: SegmentIndex, mac: MacAddr, at: Endpoint) {
        let (dst, rest) = (MacAddr::BROADCAST, reverse_arp(mac));
        self.send_frame(OwnFrame { segment, to: Target::From(at), dst, src: mac, rest });
    }

    pub(super) fn send_frame(&mut self, frame: OwnFrame) {
        self.command(0, Command::SendFrame(Box::new(frame)));
    }

    fn unsettled(&mut self, now: Now, segment: SegmentIndex, held_too: bool) {
        let due = FORGET_AFTER.map(|after| (now + after, segment, held_too));
        self.guard.unsettled.extend(due);
    }

    /// Forgets what was learned while there was a loop. What is held because it moved too often stays held, unless the loop is known
    /// to be one: anybody can send a probe that nobody can verify.
    fn settle(&mut self, now: Now) {
        let due = |(at, ..): &mut (Now, SegmentIndex, bool)| now >= *at;
        let due: Vec<_> = self.guard.unsettled.extract_if(.., due).collect();
        if due.is_empty() {
            return;
        }
        let all: HashSet<SegmentIndex> = due.iter().map(|(_, segment, _)| *segment).collect();
        let verified: HashSet<SegmentIndex> =
            due.iter().filter(|(.., held_too)| *held_too).map(|(_, segment, _)| *segment).collect();
        self.guard.moves.forget(|segment, _| verified.contains(&segment));
        self.parts.fdb.flush(|entry| {
            all.contains(&entry.segment) && (!entry.pinned || verified.contains(&entry.segment))
        });
    }
}

/// What a hypervisor sends for a machine that has moved (RFC 903): it asks nothing of anybody, and all learn where the address is.
fn reverse_arp(mac: MacAddr) -> Vec<u8> {
    const REVERSE_ARP: [u8; 2] = [0x80, 0x35];
    const REQUEST_REVERSE: u16 = 3;
    let nobody = std::net::Ipv4Addr::UNSPECIFIED;
    let packet = ArpPacket::new(REQUEST_REVERSE, (mac, nobody), (mac, nobody));
    [&REVERSE_ARP[..], &packet.to_bytes()].concat()
}

fn settings(config: &Config) -> LoopSettings {
    let config::LoopGuard { listen, interval, hold } = config.loop_guard;
    LoopSettings { listen, interval, hold }
}

fn limits(config: &Config) -> MoveLimits {
    let config::DuplicateMac { moves, window, hold } = config.duplicate_mac;
    MoveLimits { moves, window, hold }
}
