//! One path of a session: where the peer is, whether it is there, and what gets through (protocol 4.3 to 4.6).

use std::collections::VecDeque;
use std::time::Duration;

use wire::way::Way;

use super::echo::{self, Echoes, Token};
use super::pmtu::{Padded, PathMtu};
use super::{ACK, ECHO_REPLY, ECHO_REQUEST, PROBE};
use crate::status::{PathState, PathStatus, PathView};
use crate::{Now, Random, Uplinks};

/// A path that was dead carries frames again when it has been alive for so long.
const STEADY: Duration = Duration::from_secs(1);

/// At most one address challenge in this time.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(100);

/// How closely a path is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    /// The only one of its session, which is alive as long as the session is.
    alone: bool,
    /// How often the peer is asked for a sign of life by a path that is not alone.
    interval: Duration,
    /// After what time without anything from the peer such a path is dead.
    dead: Duration,
}

impl Watch {
    /// One of so many paths, beside which the control connection may carry records.
    pub(crate) fn of(paths: usize, tcp: bool, dead_peer: Duration) -> Self {
        let ms = Duration::from_millis;
        let (interval, dead) = if paths == 1 { (ms(250), ms(1000)) } else { (ms(150), ms(700)) };
        // A path has to be dead well before its session is, so that there is time to go over to another.
        let (interval, dead) = (interval.min(dead_peer / 8), dead.min(dead_peer / 2));
        Self { alone: paths == 1 && !tcp, interval, dead }
    }
}

/// One path.
#[derive(Debug)]
pub(crate) struct Path {
    watch: Watch,
    /// Where the peer is: proven, or where we connected to.
    way: Option<Way>,
    heard: Option<Now>,
    /// Whether the peer hears us, as its last echo request says.
    peer_hears: bool,
    /// Whether we have told it that we hear it.
    told: bool,
    /// While it is alive: from when on it carries frames.
    alive: Option<Now>,
    /// Whether it was dead once, and how long it lasts after that is to be seen.
    died: bool,
    /// What was told last of its being usable.
    was_usable: bool,
    /// Something has happened that `handle_timeout` looks at.
    stale: bool,
    next_echo: Now,
    echoes: Echoes,
    challenge: Option<(Token, Way)>,
    challenged: Option<Now>,
    mtu: PathMtu,
}

/// What a path wants sent: the block, in a record of so many octets (0: no more than it needs), by another way than its own.
pub(super) struct Wanted {
    pub(super) to: Option<Way>,
    pub(super) body: Vec<u8>,
    pub(super) record: u16,
}

/// What a path works with.
pub(super) struct Around<'a> {
    pub(super) now: Now,
    pub(super) dead_peer: Duration,
    pub(super) uplinks: &'a Uplinks,
    pub(super) random: &'a mut dyn Random,
    pub(super) out: &'a mut VecDeque<Wanted>,
}

impl Path {
    /// A path that nothing is known of.
    pub(super) fn new(watch: Watch, raise_after: Duration, now: Now) -> Self {
        Self {
            watch,
            way: None,
            heard: None,
            peer_hears: true,
            told: watch.alone,
            alive: None,
            died: false,
            was_usable: false,
            stale: false,
            next_echo: now,
            echoes: Echoes::default(),
            challenge: None,
            challenged: None,
            mtu: PathMtu::new(raise_after),
        }
    }

    /// From now on it is watched like this.
    pub(super) fn watch(&mut self, watch: Watch) {
        if self.watch != watch {
            self.watch = watch;
            // What one that was watched less closely shows of its past is no reason for a wait.
            self.died = false;
            self.stale = true;
        }
    }

    pub(super) fn last_heard(&self) -> Option<Now> {
        self.heard
    }

    /// From now on the peer is there. Returns whether that is news.
    pub(super) fn set_way(&mut self, way: Way, uplinks: &Uplinks) -> bool {
        if self.way == Some(way) {
            return false;
        }
        self.way = Some(way);
        self.stale = true;
        self.mtu.forget();
        self.look_at(uplinks);
        true
    }

    /// The uplinks may have changed. Returns whether the largest record has.
    pub(super) fn look_at(&mut self, uplinks: &Uplinks) -> bool {
        self.stale = true;
        let Some((way, mtu)) = self.way.and_then(|way| Some((way, uplinks.mtu(way.port)?))) else {
            return false;
        };
        self.mtu.set_limit(mtu.saturating_sub(way.overhead()))
    }

    pub(super) fn heard(&mut self, now: Now) {
        self.heard = self.heard.max(Some(now));
        self.stale |= !self.watch.alone && (self.alive.is_none() || !self.told);
    }

    pub(super) fn sent(&mut self, now: Now) {
        self.mtu.sent(now);
    }

    /// Whether it may carry frames.
    pub(super) fn is_usable(&self, now: Now) -> bool {
        self.way.is_some() && (self.watch.alone || self.alive.is_some_and(|from| now >= from))
    }

    /// A block came in an authentic record of `octets` by `from`. Returns whether what [`Path::view`] says has changed.
    pub(super) fn block(
        &mut self,
        kind: u8,
        rest: &[u8],
        from: Way,
        octets: u16,
        around: &mut Around<'_>,
    ) -> bool {
        let now = around.now;
        self.heard(now);
        let back = (!self.way.is_some_and(|way| way.is_way_of(&from))).then_some(from);
        let mut send = |body| around.out.push_back(Wanted { to: back, body, record: 0 });
        let Some((token, more)) = rest.split_first_chunk() else { return false };
        match kind {
            ECHO_REQUEST => {
                send([&[ECHO_REPLY], rest].concat());
                let hears = echo::hears(more);
                self.stale |= std::mem::replace(&mut self.peer_hears, hears) != hears;
                false
            }
            ECHO_REPLY => {
                self.echoes.reply(now, token);
                let proven = |(expected, way): &mut (Token, Way)| expected == token && *way == from;
                self.challenge.take_if(proven).is_some() && self.set_way(from, around.uplinks)
            }
            PROBE => {
                send([&[ACK], &token[..], &octets.to_be_bytes()].concat());
                false
            }
            ACK => {
                let Some(octets) = more.first_chunk() else { return false };
                self.mtu.acknowledged(now, token, u16::from_be_bytes(*octets))
            }
            _ => false,
        }
    }

    /// The newest record came by `from`, which is not the path's way: it has to prove itself.
    pub(super) fn new_way(&mut self, from: Way, around: &mut Around<'_>) {
        let now = around.now;
        let too_soon = self.challenged.is_some_and(|last| now < last + CHALLENGE_INTERVAL);
        if self.way == Some(from) || too_soon {
            return;
        }
        let token = echo::token(around.random);
        self.challenge = Some((token, from));
        self.challenged = Some(now);
        around.out.push_back(Wanted { to: Some(from), body: echo::request(&token, true), record: 0 });
    }

    /// Asks for a sign of life now, not only when the next is due.
    pub(super) fn ask(&mut self, around: &mut Around<'_>) {
        self.told = self.watch.alone || self.hears(around.now);
        let body = self.echoes.request(around.now, self.told, around.random);
        around.out.push_back(Wanted { to: None, body, record: 0 });
        self.next_echo =
            around.now + if self.watch.alone { around.dead_peer / 3 } else { self.watch.interval };
    }

    /// Does what is due. Returns whether what [`Path::view`] says has changed.
    pub(super) fn handle_timeout(&mut self, around: &mut Around<'_>) -> bool {
        let now = around.now;
        self.stale = false;
        let hears = self.hears(now);
        if self.way.is_some() && (now >= self.next_echo || !self.watch.alone && hears != self.told) {
            self.ask(around);
        }
        let line_up = self.way.is_some_and(|way| around.uplinks.is_up(way.port));
        match (self.alive, hears && self.peer_hears && line_up) {
            (Some(_), false) => {
                self.alive = None;
                self.died = true;
            }
            (None, true) => {
                // Not a moment's wait for a path that has just come to be.
                self.alive = Some(if self.died { now + STEADY } else { now });
            }
            _ => {}
        }
        let mut changed = false;
        if let Some(round_trip) = self.echoes.round_trip().filter(|_| self.is_usable(now)) {
            let mut padded: Vec<Padded> = Vec::new();
            changed = self.mtu.handle_timeout(now, round_trip, around.random, &mut padded);
            around.out.extend(padded.into_iter().map(|(body, record)| Wanted { to: None, body, record }));
        }
        let usable = self.is_usable(now);
        changed |= std::mem::replace(&mut self.was_usable, usable) != usable;
        changed
    }

    /// When `handle_timeout` is due.
    pub(super) fn deadline(&self) -> Now {
        if self.way.is_none() {
            return Now::MAX;
        }
        if self.stale {
            return Now::ZERO;
        }
        let mut at = self.next_echo;
        if !self.watch.alone {
            if let Some(heard) = self.heard.filter(|_| self.told || self.alive.is_some()) {
                at = at.min(heard + self.watch.dead);
            }
            if let Some(from) = self.alive.filter(|_| !self.was_usable) {
                at = at.min(from);
            }
        }
        if self.echoes.round_trip().is_some() && self.was_usable {
            at = at.min(self.mtu.deadline());
        }
        at
    }

    /// What the workers need to know.
    pub(super) fn view(&self) -> PathView {
        PathView { tcp: false, way: self.way, max_record: self.mtu.size(), usable: self.was_usable }
    }

    /// What the console shows.
    pub(super) fn status(&self) -> PathStatus {
        let state = match (self.way, self.was_usable, self.alive) {
            (None, ..) => PathState::Unknown,
            (_, true, _) => PathState::Up,
            (_, false, Some(_)) => PathState::Settling,
            (_, false, None) => PathState::Down,
        };
        PathStatus {
            tcp: false,
            way: self.way,
            state,
            round_trip: self.echoes.round_trip(),
            loss: self.echoes.loss(),
            mtu: self.way.map(|way| self.mtu.size() + way.overhead()),
        }
    }

    /// Why it carries no frames.
    pub(super) fn fault(&self, now: Now, uplinks: &Uplinks) -> &'static str {
        match self.way {
            _ if self.heard.is_none() => "nothing has come by UDP yet",
            Some(way) if !uplinks.is_up(way.port) => "the uplink's line is down",
            _ if !self.hears(now) => "nothing comes by UDP any more",
            _ if !self.peer_hears => "nothing of ours gets to the other end by UDP",
            None => "the peer's UDP address is not proven yet",
            Some(_) => "UDP has just come back",
        }
    }

    /// Whether anything of the peer has come by this path of late.
    fn hears(&self, now: Now) -> bool {
        self.heard.is_some_and(|heard| now < heard + self.watch.dead)
    }
}
