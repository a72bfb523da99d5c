//! Who has which IP address in a segment: learned from ARP and neighbour discovery of both sides, so that questions need not go to everybody.
//! Hosts that have been silent are asked whether they are still there, which also keeps their place in the FDB.

mod frames;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bridge::{Endpoint, SegmentIndex};
use wire::mac::MacAddr;

use frames::Heard;

/// Most addresses that are known, and of one segment: none can fill the table for all.
const MOST: usize = 65_536;
const MOST_OF_SEGMENT: usize = 16_384;

/// An address that two hosts have claimed within so long is not answered for.
const CONTEST: Duration = Duration::from_secs(5);
const CONTESTED: Duration = Duration::from_secs(30);

/// A host is asked whether it is there when this much of an entry's life is over, and so often.
const ASK_AFTER: f64 = 0.75;
const TRIES: u32 = 4;

/// Hosts that are asked at once, each second.
const ASKED_AT_ONCE: usize = 256;

/// A frame that the control thread was shown.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its segment.
    pub segment: SegmentIndex,
    /// Where it came from.
    pub from: Endpoint,
    /// Its source.
    pub src: MacAddr,
    /// From its EtherType on.
    pub rest: &'a [u8],
    /// Whether it waits to be answered or passed on.
    pub held: bool,
}

/// What becomes of a frame that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    PassOn,
    /// It is answered in the name of who it asks for.
    Answer {
        /// Who that is.
        src: MacAddr,
        /// The answer, from its EtherType on.
        rest: Vec<u8>,
    },
    /// It has been heard by who it asks for, and goes no further.
    Stays,
}

/// A question to a host that has been silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The segment.
    pub segment: SegmentIndex,
    /// Where the host is.
    pub at: Endpoint,
    /// The host.
    pub dst: MacAddr,
    /// The question, from its EtherType on.
    pub rest: Vec<u8>,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Who has it.
    pub mac: MacAddr,
    /// Where that is.
    pub at: Endpoint,
    /// Whether it is a router; `None`: it has not said, and is not answered for.
    pub router: Option<bool>,
    /// When it last said so.
    pub seen: Duration,
    /// Until when nobody is believed, after two hosts have claimed it.
    pub contested: Option<Duration>,
}

/// What is kept of an address.
#[derive(Clone, Copy, Debug)]
struct Known {
    mac: MacAddr,
    router: Option<bool>,
    seen: Duration,
    contested: Option<Duration>,
    asked: Option<Duration>,
}

/// Where a host is, and how many addresses it has: a host that moves takes them all with it at once, however many it claims.
#[derive(Clone, Copy, Debug)]
struct Host {
    at: Endpoint,
    addresses: usize,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that went on.
    pub passed_on: u64,
    /// Questions whose target is on the asker's side.
    pub stayed: u64,
    /// Silent hosts that were asked.
    pub asked: u64,
    /// Addresses that there was no room for.
    pub refused: u64,
}

/// All neighbours of the segments that suppress.
#[derive(Debug, Default)]
pub struct Neighbours {
    known: HashMap<(SegmentIndex, IpAddr), Known>,
    hosts: HashMap<(SegmentIndex, MacAddr), Host>,
    of_segment: HashMap<SegmentIndex, usize>,
    /// Who will be due for a question, in the order of their turns.
    turns: VecDeque<(SegmentIndex, IpAddr)>,
    tally: Tally,
}

impl Neighbours {
    /// Takes a frame: learns from it, and says what becomes of it if it waits. `place` tells where an address of the frame's segment is.
    pub fn take(
        &mut self,
        now: Duration,
        life: Duration,
        frame: Frame<'_>,
        place: impl FnOnce(MacAddr) -> Option<Endpoint>,
    ) -> Verdict {
        let Frame { segment, from, src, rest, held } = frame;
        let (asker, target) = match frames::hear(src, rest) {
            Some(Heard::Tells { address, router }) => {
                self.learn(now, (segment, address), src, from, router);
                return Verdict::PassOn;
            }
            Some(Heard::Asks { asker, target }) => {
                // ARP knows no routers; a host's question says nothing of it.
                self.learn(now, (segment, asker), src, from, asker.is_ipv4().then_some(false));
                (asker, target)
            }
            None => return Verdict::PassOn,
        };
        if !held {
            return Verdict::PassOn;
        }
        let verdict = self.verdict(now, life, (segment, from), (asker, src), target, place);
        match verdict {
            Verdict::PassOn => self.tally.passed_on += 1,
            Verdict::Answer { .. } => self.tally.answered += 1,
            Verdict::Stays => self.tally.stayed += 1,
        }
        verdict
    }

    /// Questions to hosts that have been silent for most of an entry's life; forgets those who have not answered. To be called every
    /// second or so.
    pub fn due(&mut self, now: Duration, life: Duration, own: MacAddr) -> Vec<Question> {
        let (ask_after, retry) =
            (life.mul_f64(ASK_AFTER), life.mul_f64((1.0 - ASK_AFTER) / f64::from(TRIES)));
        let mut questions = Vec::new();
        for _ in 0..self.turns.len() {
            if questions.len() >= ASKED_AT_ONCE {
                break;
            }
            let Some(key) = self.turns.pop_front() else { break };
            let Some(neighbour) = self.known.get_mut(&key) else { continue };
            let Some(Host { at, .. }) = self.hosts.get(&(key.0, neighbour.mac)).copied() else { continue };
            let silent = now.saturating_sub(neighbour.seen);
            if silent >= life {
                self.remove(key);
                continue;
            }
            let due = silent >= ask_after && neighbour.asked.is_none_or(|asked| now >= asked + retry);
            if due {
                neighbour.asked = Some(now);
                let (segment, address) = key;
                questions.push(Question {
                    segment,
                    at,
                    dst: neighbour.mac,
                    rest: frames::question(own, address),
                });
            }
            self.turns.push_back(key);
        }
        self.tally.asked += questions.len() as u64;
        questions
    }

    /// An address of a segment is somewhere else now.
    pub fn moved(&mut self, segment: SegmentIndex, mac: MacAddr, to: Endpoint) {
        if let Some(host) = self.hosts.get_mut(&(segment, mac)) {
            host.at = to;
        }
    }

    /// Forgets all that `wanted` says, and returns how many.
    pub fn forget(&mut self, wanted: impl Fn(SegmentIndex, &Neighbour) -> bool) -> usize {
        let gone = self.each().filter(|(segment, _, neighbour)| wanted(*segment, neighbour));
        let gone: Vec<(SegmentIndex, IpAddr)> =
            gone.map(|(segment, address, _)| (segment, address)).collect();
        gone.iter().for_each(|key| self.remove(*key));
        gone.len()
    }

    /// All that are known, by segment and address.
    pub fn all(&self) -> Vec<(SegmentIndex, IpAddr, Neighbour)> {
        let mut all: Vec<_> = self.each().collect();
        all.sort_by_key(|(segment, address, _)| (*segment, *address));
        all
    }

    /// Counts since the start.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Most addresses that it knows.
    pub fn most(&self) -> usize {
        MOST
    }

    fn each(&self) -> impl Iterator<Item = (SegmentIndex, IpAddr, Neighbour)> + '_ {
        self.known.iter().filter_map(|((segment, address), known)| {
            let Known { mac, router, seen, contested, .. } = *known;
            let Host { at, .. } = *self.hosts.get(&(*segment, mac))?;
            Some((*segment, *address, Neighbour { mac, at, router, seen, contested }))
        })
    }

    fn verdict(
        &self,
        now: Duration,
        life: Duration,
        (segment, from): (SegmentIndex, Endpoint),
        asker: (IpAddr, MacAddr),
        target: IpAddr,
        place: impl FnOnce(MacAddr) -> Option<Endpoint>,
    ) -> Verdict {
        let Some(known) = self.known.get(&(segment, target)) else { return Verdict::PassOn };
        let Known { mac, router, seen, contested, .. } = *known;
        let Some(router) = router else { return Verdict::PassOn };
        let good = now < seen + life && contested.is_none_or(|until| now >= until) && mac != asker.1;
        // Where the FDB does not know it any more, the host may be gone, or silent: everybody is asked.
        let Some(at) = place(mac).filter(|_| good) else { return Verdict::PassOn };
        if same_side(at, from) {
            return Verdict::Stays;
        }
        match frames::answer((target, mac, router), asker) {
            Some(rest) => Verdict::Answer { src: mac, rest },
            None => Verdict::PassOn,
        }
    }

    fn learn(
        &mut self,
        now: Duration,
        key: (SegmentIndex, IpAddr),
        mac: MacAddr,
        at: Endpoint,
        router: Option<bool>,
    ) {
        if let Some(known) = self.known.get_mut(&key) {
            let before = known.mac;
            if before != mac {
                let contest = now < known.seen + CONTEST;
                known.contested = contest.then_some(now + CONTESTED);
                known.router = None;
            }
            // Who asks does not say whether it is a router; what it said before holds.
            let router = router.or(known.router);
            *known = Known { mac, router, seen: now, asked: None, ..*known };
            self.has_one_more((key.0, mac), at);
            self.has_one_less((key.0, before));
            return;
        }
        let of_segment = self.of_segment.entry(key.0).or_default();
        if self.known.len() >= MOST || *of_segment >= MOST_OF_SEGMENT {
            self.tally.refused += 1;
            return;
        }
        *of_segment += 1;
        self.known.insert(key, Known { mac, router, seen: now, contested: None, asked: None });
        self.has_one_more((key.0, mac), at);
        self.turns.push_back(key);
    }

    /// A host is here, and has an address more.
    fn has_one_more(&mut self, host: (SegmentIndex, MacAddr), at: Endpoint) {
        let host = self.hosts.entry(host).or_insert(Host { at, addresses: 0 });
        host.at = at;
        host.addresses += 1;
    }

    fn has_one_less(&mut self, host: (SegmentIndex, MacAddr)) {
        let Some(found) = self.hosts.get_mut(&host) else { return };
        found.addresses -= 1;
        if found.addresses == 0 {
            self.hosts.remove(&host);
        }
    }

    /// Its turn is skipped when it comes.
    fn remove(&mut self, key: (SegmentIndex, IpAddr)) {
        if let Some(known) = self.known.remove(&key) {
            self.has_one_less((key.0, known.mac));
            if let Some(count) = self.of_segment.get_mut(&key.0) {
                *count -= 1;
            }
        }
    }
}

/// Whether two places reach each other without us: the underlay joins the VTEPs of an attachment.
fn same_side(a: Endpoint, b: Endpoint) -> bool {
    match (a, b) {
        (Endpoint::Attachment(a) | Endpoint::Vtep(a, _), Endpoint::Attachment(b) | Endpoint::Vtep(b, _)) => {
            a == b
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests;
