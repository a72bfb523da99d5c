//! Others' probes: each is passed on once, to everywhere else in its segment, with our name on it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use bridge::{Endpoint, SegmentIndex};

use super::attachment::FORGET;
use super::{LoopGuard, Mode, Output, Sessions, State, local};
use crate::probe::{MOST_PASSED, Member, Probe};

/// Probes that are remembered, so that none is passed on twice.
const MOST_SEEN: usize = 8192;

/// Probes of one segment that are passed on in a second, and at once: a forger gets no more than this.
const MOST_A_SECOND: u64 = 100;

/// Origins that are shown.
const MOST_SHOWN: usize = 256;

/// What was learned in a segment is forgotten because of others' probes at most so often: anybody can send some, of as many origins as
/// it likes.
const UNSETTLED: Duration = Duration::from_secs(10);

/// What tells a probe from another, in a segment.
type Seen = (SegmentIndex, Member, u16, u64);

/// Another appliance's probes pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// The segment that they are in.
    pub segment: SegmentIndex,
    /// Who sends them.
    pub origin: String,
    /// Where they come from.
    pub from: Endpoint,
    /// Where the last of those whom they passed saw them on a local port; empty when nobody did.
    pub place: String,
    /// Whether an attachment that they came by is blocked.
    pub broken: bool,
    /// Since when.
    pub since: Duration,
    /// When the last one did.
    pub seen: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Relay {
    seen: HashSet<Seen>,
    order: VecDeque<Seen>,
    /// What each segment has left to pass on, and when that was computed.
    budgets: HashMap<SegmentIndex, (u64, Duration)>,
    passing: BTreeMap<(SegmentIndex, Member), Passing>,
    /// When each segment was last unsettled.
    unsettled: HashMap<SegmentIndex, Duration>,
}

impl Relay {
    pub(super) fn passing(&self) -> impl Iterator<Item = &Passing> {
        self.passing.values()
    }

    pub(super) fn forget(&mut self, now: Duration) {
        self.passing.retain(|_, passing| now < passing.seen + FORGET);
        self.unsettled.retain(|_, at| now < *at + UNSETTLED);
    }

    /// When there is something to forget.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.passing.values().map(|passing| passing.seen + FORGET).min()
    }

    /// Whether a probe is new, and there is something left for it.
    fn takes(&mut self, now: Duration, key: Seen) -> bool {
        if self.seen.contains(&key) {
            return false;
        }
        let (left, at) = self.budgets.entry(key.0).or_insert((MOST_A_SECOND, now));
        let earned = now.saturating_sub(*at).as_millis() as u64 * MOST_A_SECOND / 1000;
        if earned > 0 {
            (*left, *at) = ((*left + earned).min(MOST_A_SECOND), now);
        }
        if *left == 0 {
            return false;
        }
        *left -= 1;
        if self.order.len() >= MOST_SEEN {
            if let Some(old) = self.order.pop_front() {
                self.seen.remove(&old);
            }
        }
        self.order.push_back(key);
        self.seen.insert(key)
    }

    /// Notes that a probe passes. True: it is the first of its origin for a while, and the first new one in its segment.
    fn note(&mut self, now: Duration, segment: SegmentIndex, from: Endpoint, probe: &Probe) -> bool {
        let key = (segment, probe.origin);
        let known = self.passing.get(&key).map(|passing| passing.since);
        if known.is_none() && self.passing.len() >= MOST_SHOWN {
            return false;
        }
        let passing = Passing {
            segment,
            origin: probe.origin.name(),
            from,
            place: probe.place.clone(),
            broken: probe.broken,
            since: known.unwrap_or(now),
            seen: now,
        };
        self.passing.insert(key, passing);
        if known.is_some() || self.unsettled.get(&segment).is_some_and(|at| now < *at + UNSETTLED) {
            return false;
        }
        self.unsettled.insert(segment, now);
        true
    }
}

impl LoopGuard {
    /// Whether any attachment of a segment is guarded.
    fn guards(&self, segment: SegmentIndex) -> bool {
        let mut members = self.members.get(&segment).into_iter().flatten();
        members.any(|at| self.attachments.get(at).is_some_and(|guarded| guarded.watched.mode != Mode::Off))
    }

    /// Passes a probe on that is not ours, or is ours and in another segment than it left by.
    pub(super) fn pass_on(&mut self, now: Duration, segment: SegmentIndex, from: Endpoint, mut probe: Probe) {
        let known = self.members.contains_key(&segment) || self.sessions.contains_key(&segment);
        let key = (segment, probe.origin, probe.attachment, probe.sent);
        if !known || probe.passed.len() >= MOST_PASSED {
            return;
        }
        if !self.relay.takes(now, key) {
            return;
        }
        if self.relay.note(now, segment, from, &probe) && self.guards(segment) {
            self.outputs.push_back(Output::Passing(segment));
        }
        let came_by = local(from);
        probe.passed.push(self.me);
        if let Some(guarded) = came_by.and_then(|at| self.attachments.get(&at)) {
            probe.place.clone_from(&guarded.watched.label);
            probe.broken |= guarded.state == State::Blocked;
        }
        let nothing = Sessions::default();
        let joined = self.sessions.get(&segment).unwrap_or(&nothing);
        for session in &joined.all {
            let to = Endpoint::Session(*session);
            if to != from && (joined.spoke_to_spoke || came_by.is_some()) {
                self.outputs.push_back(Output::Send { segment, to, rest: probe.to_bytes() });
            }
        }
        let others = self.members.get(&segment).into_iter().flatten().filter(|at| Some(**at) != came_by);
        for at in others.copied() {
            let blocked = self.attachments.get(&at).is_some_and(|guarded| guarded.state == State::Blocked);
            let mut copy = probe.clone();
            copy.broken |= blocked;
            let (to, rest) = (Endpoint::Attachment(at), copy.to_bytes());
            self.outputs.push_back(Output::Send { segment, to, rest });
        }
    }
}
