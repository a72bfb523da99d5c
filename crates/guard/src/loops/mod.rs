//! The loop guard: sends signed probes out of every attachment, and draws its conclusions from those that come back.
//!
//! A probe goes where data goes. An appliance that sees another's probe on a local port, or through a session, adds itself to the
//! list of those whom it passed and sends it on to everywhere else in the segment, once. So a probe comes back to who sent it if and
//! only if there is a loop, whatever it is made of: a cable between two attachments of one appliance, a cable between the networks
//! of two sites, a tunnel of two other appliances beside ours. Nobody else has to know the key that it was signed with.
//!
//! All in a loop see the same list, so they agree without a word on who breaks it: the last in the order of [`Member`], and the
//! attachment that its probe left by. Should it not do so (it may see nothing, in a loop of one direction), the others do, one after
//! the other. Probes pass blocked attachments too, and say that they did: so who blocks knows whether it has to go on.

mod attachment;
mod relay;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use bridge::{AttachmentIndex, Endpoint, SegmentIndex, SessionIndex};

use crate::probe::{Member, Probe, ProbeKey};
use attachment::{Became, Guarded};
pub use attachment::{BrokenBy, Loop, Mode, State, Through, Watched};
pub use relay::Passing;
use relay::Relay;

/// Most probes a second that an appliance sends.
const MOST_PROBES: u64 = 8192;

/// Those among them that attachments send in their turns; the rest is for those that are in a hurry. With more attachments than that allows,
/// each has its turn less often: with one in every segment that there can be, every 0.8 s, so that a loop is found within 1 s.
const MOST_IN_TURN: u64 = 5120;

/// Probes that may be sent at once.
const BURST: u64 = 256;

/// A probe that comes back later than that says nothing of now.
const FRESH: Duration = Duration::from_secs(2);

/// One probe comes back so often only if the local network multiplies it.
const STORM: u32 = 8;

/// Times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopSettings {
    /// How long an attachment listens before it forwards; 0: not at all.
    pub listen: Duration,
    /// Between two probes of an attachment.
    pub interval: Duration,
    /// How long an attachment stays blocked after the last sign of the loop, at first.
    pub hold: Duration,
}

impl Default for LoopSettings {
    fn default() -> Self {
        Self {
            listen: Duration::from_millis(300),
            interval: Duration::from_millis(250),
            hold: Duration::from_secs(3),
        }
    }
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A loop, or that somebody else breaks it now.
    Loop(Loop),
    /// A loop that is no more.
    Gone(Loop),
    /// Our frames come back on the attachment that they leave by, or do so no more.
    Reflects(AttachmentIndex, bool),
    /// Two segments are one behind these attachments.
    Joined(AttachmentIndex, AttachmentIndex),
}

/// What the guard wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a probe, given from its EtherType on.
    Send {
        /// Its segment.
        segment: SegmentIndex,
        /// An attachment, or a session.
        to: Endpoint,
        /// Its octets.
        rest: Vec<u8>,
    },
    /// What [`LoopGuard::state`] or [`LoopGuard::reflects`] say of an attachment has changed.
    Changed(AttachmentIndex),
    /// What was learned in a segment may be wrong: a loop of ours has come, changed or gone.
    Unsettled(SegmentIndex),
    /// What was learned in a segment may be wrong, if a probe of somebody whom we cannot verify is what it says it is.
    Passing(SegmentIndex),
    /// To be told.
    Found(Finding),
}

/// The sessions that a segment is joined in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Them, in the order of their numbers.
    pub all: Vec<SessionIndex>,
    /// Whether what comes from one may go to another.
    pub spoke_to_spoke: bool,
}

/// The guard of one appliance.
#[derive(Debug)]
pub struct LoopGuard {
    me: Member,
    key: ProbeKey,
    settings: LoopSettings,
    attachments: BTreeMap<AttachmentIndex, Guarded>,
    /// When each attachment's next probe is due.
    due: BTreeSet<(Duration, AttachmentIndex)>,
    /// The attachments of each segment.
    members: HashMap<SegmentIndex, Vec<AttachmentIndex>>,
    /// The sessions of each segment.
    sessions: HashMap<SegmentIndex, Sessions>,
    joined: BTreeMap<(AttachmentIndex, AttachmentIndex), Duration>,
    relay: Relay,
    budget: u64,
    budget_at: Duration,
    outputs: VecDeque<Output>,
}

impl LoopGuard {
    /// A guard that calls itself `me` and signs with `key`.
    pub fn new(me: Member, key: ProbeKey, settings: LoopSettings) -> Self {
        Self {
            me,
            key,
            settings,
            attachments: BTreeMap::new(),
            due: BTreeSet::new(),
            members: HashMap::new(),
            sessions: HashMap::new(),
            joined: BTreeMap::new(),
            relay: Relay::default(),
            budget: BURST,
            budget_at: Duration::ZERO,
            outputs: VecDeque::new(),
        }
    }

    /// Says what there is to guard from now on, and which sessions each segment has. What is new listens first. `wary`: so does a
    /// segment that was in no session before, as one end of a tunnel should.
    pub fn arrange(
        &mut self,
        now: Duration,
        settings: LoopSettings,
        watched: Vec<Watched>,
        sessions: HashMap<SegmentIndex, Sessions>,
        wary: bool,
    ) {
        self.settings = settings;
        let wanted: BTreeMap<AttachmentIndex, Watched> = watched.into_iter().map(|w| (w.at, w)).collect();
        let stale = |at: &AttachmentIndex, guarded: &Guarded| {
            let old = &guarded.watched;
            let off = |watched: &Watched| watched.mode == Mode::Off;
            wanted.get(at).is_none_or(|new| new.segment != old.segment || off(new) != off(old))
        };
        let gone: Vec<AttachmentIndex> =
            self.attachments.iter().filter(|(at, guarded)| stale(at, guarded)).map(|(at, _)| *at).collect();
        for at in gone {
            if let Some(guarded) = self.attachments.remove(&at) {
                self.due.remove(&(guarded.next, at));
                self.outputs.push_back(Output::Changed(at));
            }
        }
        for (at, watched) in wanted {
            match self.attachments.get_mut(&at) {
                Some(guarded) => {
                    if guarded.change(watched) {
                        self.outputs.push_back(Output::Changed(at));
                    }
                }
                None => {
                    let guarded = Guarded::new(watched, now, &settings);
                    if guarded.watched.mode != Mode::Off {
                        self.due.insert((guarded.next, at));
                    }
                    self.attachments.insert(at, guarded);
                    self.outputs.push_back(Output::Changed(at));
                }
            }
        }
        self.members.clear();
        for (at, guarded) in &self.attachments {
            self.members.entry(guarded.watched.segment).or_default().push(*at);
        }
        self.joined.retain(|(a, b), _| self.attachments.contains_key(a) && self.attachments.contains_key(b));
        let before = std::mem::replace(&mut self.sessions, sessions);
        let newly_joined: HashSet<SegmentIndex> = self
            .sessions
            .iter()
            .filter(|(segment, joined)| {
                let old = before.get(*segment).map_or(&[][..], |joined| &joined.all);
                old != joined.all && joined.all.iter().any(|at| old.binary_search(at).is_err())
            })
            .map(|(segment, _)| *segment)
            .collect();
        for (at, guarded) in &mut self.attachments {
            if guarded.watched.mode == Mode::Off || !newly_joined.contains(&guarded.watched.segment) {
                continue;
            }
            // Another way for frames to go round: look for it at once.
            self.due.remove(&(guarded.next, *at));
            if wary && guarded.state == State::Forwarding {
                guarded.listen(now, &self.settings);
                self.outputs.push_back(Output::Changed(*at));
            }
            guarded.next = now;
            self.due.insert((now, *at));
        }
    }

    /// Takes a probe that came in at `from`, given from its EtherType on.
    pub fn heard(&mut self, now: Duration, segment: SegmentIndex, from: Endpoint, rest: &[u8]) {
        let Some(probe) = Probe::parse(rest) else { return };
        if probe.origin != self.me {
            return self.pass_on(now, segment, from, probe);
        }
        let sent = Duration::from_micros(probe.sent);
        if !probe.is_signed(&self.key) || sent > now || now > sent + FRESH {
            return;
        }
        self.came_back(now, segment, from, probe);
    }

    /// Sends what is due; to be called at [`LoopGuard::deadline`].
    pub fn handle_timeout(&mut self, now: Duration) {
        let earned = now.saturating_sub(self.budget_at).as_micros() as u64 * MOST_PROBES / 1_000_000;
        if earned > 0 {
            self.budget = (self.budget + earned).min(BURST);
            self.budget_at = now;
        }
        let interval = Duration::from_micros(self.due.len() as u64 * 1_000_000 / MOST_IN_TURN);
        let interval = interval.max(self.settings.interval);
        while self.budget > 0 {
            let Some((next, at)) = self.due.first().copied().filter(|(next, _)| *next <= now) else { break };
            self.due.remove(&(next, at));
            self.budget -= 1;
            self.turn(now, at, interval);
        }
        self.relay.forget(now);
        self.joined.retain(|_, seen| now < *seen + attachment::FORGET);
    }

    /// When [`LoopGuard::handle_timeout`] is to be called.
    pub fn deadline(&self) -> Duration {
        let next = self.due.first().map(|(next, _)| *next);
        next.or_else(|| self.relay.deadline()).unwrap_or(Duration::MAX)
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether frames pass an attachment. What is not guarded forwards.
    pub fn state(&self, at: AttachmentIndex) -> State {
        self.attachments.get(&at).map_or(State::Forwarding, |guarded| guarded.state)
    }

    /// Whether our frames come back on an attachment.
    pub fn reflects(&self, at: AttachmentIndex) -> bool {
        self.attachments.get(&at).is_some_and(Guarded::reflects)
    }

    /// The loops that there are.
    pub fn loops(&self) -> impl Iterator<Item = &Loop> {
        self.attachments.values().filter_map(|guarded| guarded.found.as_ref())
    }

    /// Pairs of attachments behind which two segments are one.
    pub fn joined(&self) -> impl Iterator<Item = (AttachmentIndex, AttachmentIndex)> {
        self.joined.keys().copied()
    }

    /// Others' probes that pass: loops of which we are no end, or their appliances beside ours.
    pub fn passing(&self) -> impl Iterator<Item = &Passing> {
        self.relay.passing()
    }

    /// Everything blocked listens again: for an operator who has mended what was wrong. Returns how many attachments that are.
    pub fn release(&mut self, now: Duration) -> usize {
        let mut released = 0;
        for (at, guarded) in self.attachments.iter_mut().filter(|(_, g)| g.state == State::Blocked) {
            self.due.remove(&(guarded.next, *at));
            guarded.listen(now, &self.settings);
            self.due.insert((guarded.next, *at));
            self.outputs.push_back(Output::Changed(*at));
            released += 1;
        }
        released
    }

    /// One attachment's turn: another state if it is time for that, and a probe.
    fn turn(&mut self, now: Duration, at: AttachmentIndex, interval: Duration) {
        let Some(guarded) = self.attachments.get_mut(&at) else { return };
        if guarded.review(now, &self.settings) {
            self.outputs.push_back(Output::Changed(at));
        }
        if let Some(gone) = guarded.gone(now) {
            self.outputs.push_back(Output::Found(Finding::Gone(gone)));
        }
        if guarded.reflects_no_more(now) {
            self.outputs.push_back(Output::Changed(at));
            self.outputs.push_back(Output::Found(Finding::Reflects(at, false)));
        }
        let Watched { segment, tunnel, .. } = guarded.watched;
        let probe = Probe::new(&self.key, self.me, tunnel, at.0, now.as_micros() as u64);
        let (to, rest) = (Endpoint::Attachment(at), probe.to_bytes());
        self.outputs.push_back(Output::Send { segment, to, rest });
        guarded.probed(now, interval, &self.settings);
        self.due.insert((guarded.next, at));
    }

    /// One of our own came back.
    fn came_back(&mut self, now: Duration, segment: SegmentIndex, from: Endpoint, probe: Probe) {
        let left_by = AttachmentIndex(probe.attachment);
        let guarded = self.attachments.get(&left_by).filter(|guarded| guarded.watched.mode != Mode::Off);
        let Some(origin) = guarded else { return };
        if origin.watched.segment != segment {
            // Two segments are joined somewhere. That alone is no loop; one that goes through both is found by going on.
            if let Some(at) = local(from).filter(|_| probe.passed.is_empty()) {
                let pair = (left_by.min(at), left_by.max(at));
                if self.joined.insert(pair, now).is_none() {
                    self.outputs.push_back(Output::Found(Finding::Joined(pair.0, pair.1)));
                }
            }
            return self.pass_on(now, segment, from, probe);
        }
        match local(from) {
            Some(at) if at == left_by => self.reflected(now, at, probe.sent),
            Some(at) => self.between(now, left_by, at),
            None if probe.passed.is_empty() => {}
            None => self.around(now, left_by, probe),
        }
    }

    fn reflected(&mut self, now: Duration, at: AttachmentIndex, sent: u64) {
        let Some(guarded) = self.attachments.get_mut(&at) else { return };
        let (news, copies) = guarded.reflected(now, sent);
        if news {
            self.outputs.push_back(Output::Changed(at));
            // Hosts whose frames had come back before that were taken for hosts behind this attachment.
            self.outputs.push_back(Output::Unsettled(guarded.watched.segment));
            self.outputs.push_back(Output::Found(Finding::Reflects(at, true)));
        }
        if copies == STORM {
            let became = guarded.ours(now, Through::Itself, &self.settings);
            self.tell(at, became);
        }
    }

    /// A probe of one attachment came in at another: the later one breaks the loop.
    fn between(&mut self, now: Duration, left_by: AttachmentIndex, at: AttachmentIndex) {
        let (first, last) = (left_by.min(at), left_by.max(at));
        let blocked = |at| self.attachments.get(&at).is_some_and(|g: &Guarded| g.state == State::Blocked);
        let first_breaks = blocked(first);
        let Some(guarded) = self.attachments.get_mut(&last) else { return };
        let became = match first_breaks {
            true => guarded.broken(now, Through::Attachment(first)),
            false => guarded.ours(now, Through::Attachment(first), &self.settings),
        };
        self.tell(last, became);
    }

    /// A probe came back through other appliances.
    fn around(&mut self, now: Duration, at: AttachmentIndex, probe: Probe) {
        let behind = probe.passed.iter().filter(|member| **member > self.me).count() as u32;
        let Some(guarded) = self.attachments.get_mut(&at) else { return };
        let through = Through::Site(probe.place);
        let became = match (probe.broken, behind) {
            (true, _) => guarded.broken(now, through),
            (false, 0) => guarded.ours(now, through, &self.settings),
            (false, behind) => guarded.others(now, through, behind, &self.settings),
        };
        self.tell(at, became);
    }

    fn tell(&mut self, at: AttachmentIndex, became: Became) {
        let Some(found) = self.attachments.get(&at).and_then(|guarded| guarded.found.clone()) else { return };
        if became == Became::Known {
            return;
        }
        if became == Became::Blocked {
            self.outputs.push_back(Output::Changed(at));
        }
        self.outputs.push_back(Output::Unsettled(found.segment));
        self.outputs.push_back(Output::Found(Finding::Loop(found)));
    }
}

/// The attachment, if it is no session.
fn local(from: Endpoint) -> Option<AttachmentIndex> {
    match from {
        Endpoint::Attachment(at) | Endpoint::Vtep(at, _) => Some(at),
        Endpoint::Session(_) => None,
    }
}
