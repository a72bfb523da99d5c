//! The appliance tells what it does and why: statistics, drops, captures, explanations, self-tests.
//!
//! What takes time is a [`Job`]: it is looked at in every round of the control thread, and answers when it is done.

mod alarms;
mod asks;
mod capture;
mod drops;
mod echo;
mod explain;
mod explaining;
mod findings;
mod gateway;
mod localmacs;
mod pathtest;
mod ping;
mod selftest;
mod statistics;
mod testframes;
mod unlearned;
mod watch;
#[cfg(test)]
mod world;

use std::collections::HashMap;
use std::sync::Arc;

use bridge::{SegmentIndex, SessionIndex};
use pipeline::capture::Tap;
use pipeline::notice::Seen;
use serde_json::Value;
use session::Now;
use session::message::Message;
use session::question::{Answer, Details, Question, get};

use crate::appliance::Appliance;
use crate::random::OsRandom;
use crate::requests::{Request, Role};
use crate::show::Shown;
use alarms::Alarms;
use asks::Asks;
use capture::Captures;
use localmacs::LocalMacs;
use pathtest::Paddings;
use ping::Answers;
use testframes::TestFrames;
use wire::mac::MacAddr;

pub(crate) use watch::Watch;

/// Most jobs at one time.
const MAX_JOBS: usize = 32;

/// Something that takes time.
trait Job {
    /// Goes on with it. Returns whether it is done.
    fn work(&mut self, appliance: &mut Appliance, now: Now) -> bool;
}

/// What is going on.
#[derive(Default)]
pub(crate) struct Insight {
    captures: Captures,
    asks: Asks,
    jobs: Vec<Box<dyn Job>>,
    /// Taps of jobs.
    taps: Vec<Arc<Tap>>,
    alarms: Alarms,
    frames: TestFrames,
    answers: Answers,
    paddings: Paddings,
    local_macs: LocalMacs,
    /// Segments in which answers to us are waited for, and by how many.
    own: HashMap<SegmentIndex, usize>,
    /// The address that we ask from.
    mac: MacAddr,
    next_token: u64,
}

impl Insight {
    /// Nothing is going on yet. `mac` is the address that the appliance asks from.
    pub(crate) fn new(mac: MacAddr) -> Self {
        let mut first = [0; 8];
        OsRandom::new().fill(&mut first);
        Self { mac, next_token: u64::from_be_bytes(first), ..Self::default() }
    }

    /// How many captures are on, and how many tests and explanations.
    pub(crate) fn running(&self) -> (usize, usize) {
        (self.captures.count(), self.jobs.len())
    }

    /// A number that was not used before; many may follow it.
    fn token(&mut self) -> u64 {
        self.next_token = self.next_token.wrapping_add(1 << 20);
        self.next_token
    }

    /// The counters of a segment some time ago.
    fn then(&self, segment: SegmentIndex) -> findings::Then {
        self.alarms.then(segment)
    }

    /// Takes answers to our address in a segment from now on.
    fn own_address(&mut self, segment: SegmentIndex) {
        *self.own.entry(segment).or_default() += 1;
    }

    /// Takes none any more, if nobody else does.
    fn no_own_address(&mut self, segment: SegmentIndex) {
        if let Some(users) = self.own.get_mut(&segment) {
            *users -= 1;
        }
        self.own.retain(|_, users| *users > 0);
    }
}

impl Appliance {
    /// Answers a request of ours, or sees that it is answered later. Gives one back that is none of ours.
    pub(crate) fn insight_request(&mut self, words: &[&str], request: Request) -> Option<Request> {
        match words {
            ["capture", ..] if request.who.role < Role::Admin => {
                request.reply.answer(Err("an operator may not capture what others say".into()));
            }
            ["capture", rest @ ..] => match self.with_shown(|shown| capture::parse(rest, shown)) {
                Ok(wanted) => {
                    let now = self.now();
                    self.insight.captures.start(wanted, request.reply, now);
                    self.dirty = true;
                }
                Err(error) => request.reply.answer(Err(error)),
            },
            ["explain", rest @ ..] => explaining::start(self, rest, request.reply),
            ["test", "segment", name] => selftest::start(self, name, request.reply),
            ["test", "path", rest @ ..] if request.who.role == Role::Admin => {
                pathtest::start(self, rest, request.reply);
            }
            ["test", ..] => request
                .reply
                .answer(Err("there are: test segment NAME, and for admins test path SITE".into())),
            ["ping", "segment", rest @ ..] => ping::start(self, rest, request.reply),
            ["ping", ..] => request.reply.answer(Err("there is: ping segment NAME ADDRESS".into())),
            _ => return Some(request),
        }
        None
    }

    /// Goes on with what takes time.
    pub(crate) fn insight_work(&mut self, now: Now) {
        if self.insight.captures.has_work(now) {
            let mut captures = std::mem::take(&mut self.insight.captures);
            self.dirty |= self.with_shown(|shown| captures.work(shown));
            self.insight.captures = captures;
        }
        for mut job in std::mem::take(&mut self.insight.jobs) {
            if !job.work(self, now) {
                self.insight.jobs.push(job);
            }
        }
        self.send_padding(now);
        if self.insight.alarms.is_due(now) {
            let mut alarms = std::mem::take(&mut self.insight.alarms);
            self.with_shown(|shown| alarms.watch(shown));
            self.insight.alarms = alarms;
        }
        self.insight.asks.tidy(now);
    }

    /// A worker shows a frame. Returns whether it was for us.
    pub(crate) fn insight_notice(&mut self, seen: &Seen) -> bool {
        if seen.dst == MacAddr::LOOP_PROBE {
            return self.insight.frames.take(seen);
        }
        if seen.dst == self.insight.mac && self.insight.own.contains_key(&seen.segment) {
            self.insight.answers.take(seen);
            return true;
        }
        false
    }

    /// A block of a session's own arrived at this moment.
    pub(crate) fn insight_block(&mut self, at: Now, block: &[u8]) {
        self.insight.paddings.echo_reply(at, block);
    }

    /// Looks at all that can be shown.
    fn with_shown<T>(&self, look: impl FnOnce(&Shown<'_>) -> T) -> T {
        let tables = self.tables();
        look(&self.shown(&tables))
    }

    fn start_job(&mut self, job: impl Job + 'static) {
        self.insight.jobs.push(Box::new(job));
    }

    fn has_room_for_a_job(&self) -> Result<(), String> {
        let room = self.insight.jobs.len() < MAX_JOBS;
        room.then_some(()).ok_or_else(|| format!("there are {MAX_JOBS} tests and explanations already"))
    }

    /// Puts a question to the other end of a session. `None`: there is no control connection now.
    fn ask(&mut self, session: SessionIndex, kind: &str, details: Details) -> Option<u64> {
        let now = self.now();
        let number = self.insight.asks.ask(session, now);
        let question = Question { number, kind: kind.into(), details };
        self.sessions.tell(session, &Message::Question(question)).then_some(number)
    }

    /// The other end of a session asks.
    pub(crate) fn asked(&mut self, session: SessionIndex, question: &Question) {
        let now = self.now();
        let allowed = self.insight.asks.allows(session, &question.kind, now);
        let details = if allowed { self.known(session, question) } else { None };
        let number = question.number;
        // Without a connection nobody waits for the answer any more.
        let _ = self.sessions.tell(session, &Message::Answer(Answer { number, details }));
    }

    /// The other end of a session answers.
    pub(crate) fn answered(&mut self, session: SessionIndex, answer: Answer) {
        self.insight.asks.answered(session, answer.number, answer.details);
    }

    fn known(&mut self, session: SessionIndex, question: &Question) -> Option<Details> {
        let uint = |name: &str| get(&question.details, name).and_then(|value| value.uint());
        let tunnel = || u16::try_from(uint("tunnel")?).ok();
        match question.kind.as_str() {
            "explain" => {
                let frame = get(&question.details, "frame").and_then(|value| value.bytes())?;
                let input = explain::Input::of_peer(session, tunnel()?, frame)?;
                let steps = self.with_shown(|shown| explain::explain(&input, shown).steps);
                Some(vec![("steps".into(), asks::of_json(&Value::Array(steps)))])
            }
            "segment" => self.segment_view(session, &question.details),
            "arrived" => self.arrived_view(session, &question.details),
            "path" => Some(self.path_view(session)),
            "padding" => self.padding_wanted(session, &question.details),
            _ => None,
        }
    }
}
