//! The appliance tells what it does and why: statistics, drops, captures, explanations, self-tests.
//!
//! What takes time is a [`Job`]: it is looked at in every round of the control thread, and answers when it is done.

mod asks;
mod capture;
mod drops;
mod explain;
mod explaining;
mod statistics;
mod watch;

use std::sync::Arc;

use bridge::SessionIndex;
use pipeline::capture::Tap;
use serde_json::Value;
use session::Now;
use session::message::Message;
use session::question::{Answer, Details, Question, get};

use crate::appliance::Appliance;
use crate::requests::Request;
use crate::show::Shown;
use asks::Asks;
use capture::Captures;

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
}

impl Appliance {
    /// Answers a request of ours, or sees that it is answered later. Gives one back that is none of ours.
    pub(crate) fn insight_request(&mut self, words: &[&str], request: Request) -> Option<Request> {
        match words {
            ["capture", rest @ ..] => match self.with_shown(|shown| capture::parse(rest, shown)) {
                Ok(wanted) => {
                    let now = self.now();
                    self.insight.captures.start(wanted, request.reply, now);
                    self.dirty = true;
                }
                Err(error) => request.reply.answer(Err(error)),
            },
            ["explain", rest @ ..] => explaining::start(self, rest, request.reply),
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
        self.insight.asks.tidy(now);
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
        let details =
            if self.insight.asks.allows(session, now) { self.known(session, question) } else { None };
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
            _ => None,
        }
    }
}
