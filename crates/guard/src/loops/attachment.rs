//! One attachment that is guarded: whether it forwards, and what was found behind it.

use std::time::Duration;

use bridge::{AttachmentIndex, SegmentIndex};

use super::LoopSettings;

/// Longest time that a blocked attachment waits without a sign of the loop.
const MOST_HOLD: Duration = Duration::from_secs(300);

/// Who blocks again within so many holds after it was released waits twice as long.
const RELAPSE: u32 = 10;

/// What is found is remembered for so long after its last sign.
pub(super) const FORGET: Duration = Duration::from_secs(3);

/// An attachment that reflected is taken for one that does for so long.
const REFLECTS: Duration = Duration::from_secs(30);

/// An appliance that another should have spared the work waits so long for it, times its distance from the end of the order.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// A suspicion that is not renewed within so long was unfounded.
const SUSPICION: Duration = Duration::from_millis(700);

/// What is done about a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is looked for: others' probes pass, so that they find what they look for.
    Off,
    /// It is told.
    Watch,
    /// It is told, and broken.
    Block,
}

/// Whether frames pass an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not yet.
    Listening,
    /// They do.
    Forwarding,
    /// Not: there is a loop.
    Blocked,
}

/// An attachment that is to be guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its number.
    pub at: AttachmentIndex,
    /// Its segment.
    pub segment: SegmentIndex,
    /// The segment's tunnel ID.
    pub tunnel: u16,
    /// What is done about a loop.
    pub mode: Mode,
    /// How it is called, towards other appliances: site, port and tags.
    pub label: String,
}

/// How a probe came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Through {
    /// On another attachment of this appliance.
    Attachment(AttachmentIndex),
    /// Through other appliances. The last of them who saw it on a local port says where.
    Site(String),
    /// Many times, on the attachment that it had left by: the local network has a loop in itself.
    Itself,
}

/// Who breaks a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenBy {
    /// We do.
    Us,
    /// Another appliance, or another attachment of ours.
    Others,
    /// Nobody (yet).
    Nobody,
}

/// A loop that goes through an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// The attachment.
    pub at: AttachmentIndex,
    /// Its segment.
    pub segment: SegmentIndex,
    /// How it goes on.
    pub through: Through,
    /// Who breaks it.
    pub broken_by: BrokenBy,
    /// When it was found.
    pub since: Duration,
    /// When a probe last came through it.
    pub seen: Duration,
}

/// What became of a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// Nothing that was not known.
    Known,
    /// News: to be told.
    News,
    /// The attachment blocks from now on.
    Blocked,
}

/// One attachment with its state.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) watched: Watched,
    pub(super) state: State,
    pub(super) found: Option<Loop>,
    /// When its next probe is due.
    pub(super) next: Duration,
    /// Probes sent since it listens.
    sent: u32,
    listens_since: Duration,
    /// When a blocked one last had reason to be.
    evidence: Duration,
    hold: Duration,
    released: Option<Duration>,
    /// The first and the last sign of a loop that another should break.
    suspicion: Option<(Duration, Duration)>,
    reflected: Option<Duration>,
    /// How often the probe that was sent at this time came back here.
    copies: (u64, u32),
}

impl Guarded {
    pub(super) fn new(watched: Watched, now: Duration, settings: &LoopSettings) -> Self {
        let idle = settings.listen.is_zero() || watched.mode == Mode::Off;
        let state = if idle { State::Forwarding } else { State::Listening };
        Self {
            watched,
            state,
            found: None,
            next: now,
            sent: 0,
            listens_since: now,
            evidence: now,
            hold: settings.hold,
            released: None,
            suspicion: None,
            reflected: None,
            copies: (0, 0),
        }
    }

    /// Is guarded in another way from now on. True: it is in another state now.
    pub(super) fn change(&mut self, watched: Watched) -> bool {
        if self.watched.mode != watched.mode {
            // Nobody could be expected to break what was only watched.
            self.suspicion = None;
        }
        self.watched = watched;
        if self.state != State::Blocked || self.watched.mode == Mode::Block {
            return false;
        }
        // The next probe that comes back tells that nobody breaks the loop.
        (self.state, self.found) = (State::Forwarding, None);
        true
    }

    /// Listens anew.
    pub(super) fn listen(&mut self, now: Duration, settings: &LoopSettings) {
        self.next = now;
        if !settings.listen.is_zero() {
            (self.state, self.sent, self.listens_since) = (State::Listening, 0, now);
        } else if self.state == State::Blocked {
            self.state = State::Forwarding;
        }
    }

    /// Looks whether it is time for another state. True: it is in another now.
    pub(super) fn review(&mut self, now: Duration, settings: &LoopSettings) -> bool {
        let before = self.state;
        match self.state {
            State::Listening => {
                let heard_enough = now >= self.listens_since + settings.listen && self.sent >= 2;
                let suspicious = self.suspicion.is_some_and(|(_, last)| now < last + SUSPICION);
                if heard_enough && !(suspicious && self.watched.mode == Mode::Block) {
                    self.state = State::Forwarding;
                }
            }
            State::Blocked if now >= self.evidence + self.hold => {
                self.released = Some(now);
                self.listen(now, settings);
            }
            State::Blocked | State::Forwarding => {}
        }
        before != self.state
    }

    /// When the next probe is due, after one that is sent now.
    pub(super) fn probed(&mut self, now: Duration, interval: Duration, settings: &LoopSettings) {
        self.sent = self.sent.saturating_add(1);
        self.next = match self.state {
            State::Listening => now + settings.listen / 3,
            State::Forwarding | State::Blocked => turn_after(now, interval, self.watched.at),
        };
    }

    /// A probe came through a loop that nobody breaks, and that is ours to break.
    pub(super) fn ours(&mut self, now: Duration, through: Through, settings: &LoopSettings) -> Became {
        self.evidence = now;
        self.suspicion = None;
        match (self.state, self.watched.mode) {
            (State::Blocked, _) => self.note(now, through, BrokenBy::Us),
            (_, Mode::Watch | Mode::Off) => self.note(now, through, BrokenBy::Nobody),
            (_, Mode::Block) => {
                let relapse = self.released.is_some_and(|at| now < at + self.hold * RELAPSE);
                self.hold = if relapse { (self.hold * 2).min(MOST_HOLD) } else { settings.hold };
                self.state = State::Blocked;
                self.note(now, through, BrokenBy::Us);
                Became::Blocked
            }
        }
    }

    /// A probe came through a loop that nobody breaks, and that is another's to break, who is so many places behind us.
    pub(super) fn others(
        &mut self,
        now: Duration,
        through: Through,
        places: u32,
        settings: &LoopSettings,
    ) -> Became {
        if self.state == State::Blocked {
            return self.ours(now, through, settings);
        }
        let first = match self.suspicion {
            Some((first, last)) if now < last + SUSPICION => first,
            _ => now,
        };
        self.suspicion = Some((first, now));
        if now >= first + PATIENCE * places {
            return self.ours(now, through, settings);
        }
        self.note(now, through, BrokenBy::Nobody)
    }

    /// A probe came through a loop that is broken elsewhere.
    pub(super) fn broken(&mut self, now: Duration, through: Through) -> Became {
        self.suspicion = None;
        self.note(now, through, BrokenBy::Others)
    }

    /// A probe came back where it had left. Returns whether that is news, and how often this one did.
    pub(super) fn reflected(&mut self, now: Duration, sent: u64) -> (bool, u32) {
        let news = self.reflected.is_none();
        self.reflected = Some(now);
        let copies = if self.copies.0 == sent { self.copies.1 + 1 } else { 1 };
        self.copies = (sent, copies);
        (news, copies)
    }

    pub(super) fn reflects(&self) -> bool {
        self.reflected.is_some()
    }

    /// Whether it reflected and does no more.
    pub(super) fn reflects_no_more(&mut self, now: Duration) -> bool {
        self.reflected.take_if(|at| now >= *at + REFLECTS).is_some()
    }

    /// The loop that was found, if there has been no sign of it for a while.
    pub(super) fn gone(&mut self, now: Duration) -> Option<Loop> {
        let over = self.state == State::Forwarding;
        self.found.take_if(|found| over && now >= found.seen + FORGET)
    }

    fn note(&mut self, now: Duration, through: Through, broken_by: BrokenBy) -> Became {
        let Watched { at, segment, .. } = self.watched;
        let news = match &self.found {
            None => true,
            // A probe may come back several ways; what is broken stays so until all of them are.
            Some(found) => found.broken_by != broken_by && broken_by != BrokenBy::Nobody,
        };
        let since = self.found.as_ref().map_or(now, |found| found.since);
        self.found = Some(Loop { at, segment, through, broken_by, since, seen: now });
        if news { Became::News } else { Became::Known }
    }
}

/// When the turn of an attachment comes next. Each has a place of its own in the interval, whatever it did before, so that all are spread
/// evenly over it and none waits for longer than that. Multiples of the golden ratio spread any run of numbers evenly.
fn turn_after(now: Duration, interval: Duration, at: AttachmentIndex) -> Duration {
    const GOLDEN_RATIO: u32 = 0x9e37_79b9;
    let place = u128::from(u32::from(at.0).wrapping_mul(GOLDEN_RATIO));
    let (now, interval) = (now.as_nanos(), interval.as_nanos().max(1));
    let place = (interval * place) >> u32::BITS;
    let turns = (now + interval - place) / interval;
    Duration::from_nanos(u64::try_from(place + turns * interval).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_once_in_an_interval_at_the_same_place() {
        let interval = Duration::from_millis(800);
        for at in [0, 1, 17, 4092].map(AttachmentIndex) {
            let mut now = Duration::from_micros(12_345_678);
            let first = turn_after(now, interval, at);
            assert!(first > now && first <= now + interval, "{at:?}: {first:?}");
            for turn in 0..5 {
                now = turn_after(now, interval, at);
                assert_eq!(now, first + interval * turn);
                // Who comes late keeps its place.
                now += Duration::from_millis(7);
            }
        }
    }

    #[test]
    fn turns_are_spread_evenly_however_many_there_are() {
        let (start, interval) = (Duration::from_secs(5), Duration::from_millis(800));
        for (first, count) in [(0_u16, 16_u16), (100, 100), (0, 4093), (12_000, 4093)] {
            let mut parts = [0_u16; 8];
            for at in (first..first + count).map(AttachmentIndex) {
                let place = turn_after(start, interval, at) - start;
                parts[(place.as_nanos() * 8 / interval.as_nanos()).min(7) as usize] += 1;
            }
            let even = count / 8;
            assert!(parts.iter().all(|part| part.abs_diff(even) <= 2), "{count}: {parts:?}");
        }
    }
}
