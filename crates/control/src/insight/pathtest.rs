//! `test path`: how much gets through to a site and back at a bounded rate, how much is lost, and how long it takes. Padding (protocol
//! 4.3, kind 0) in records of the full size takes the real way: lanes, paths, workers. Echoes are answered by the other end's workers.

use std::collections::HashMap;
use std::time::Duration;

use bridge::SessionIndex;
use pipeline::command::{Command, ControlBlock};
use serde_json::{Value, json};
use session::Now;
use session::question::{Detail, Details, get};

use super::asks::Answered;
use super::{Job, capture};
use crate::appliance::Appliance;
use crate::requests::Reply;

/// What a test does unless asked otherwise, and at most: Mbit/s each way, and seconds.
const RATE: u64 = 10;
const MAX_RATE: u64 = 200;
const SECONDS: u64 = 3;
const MAX_SECONDS: u64 = 10;

/// Padding that is sent in one round at most, so that a round that came late does not flood.
const ROUND: u64 = 64;

/// Most sites that we send padding to at one time.
const MAX_PADDINGS: usize = 4;

/// Records that are on their way when the last was sent have so long.
const TAIL: Duration = Duration::from_millis(500);

const ECHO_INTERVAL: Duration = Duration::from_millis(50);

/// Blocks of the session's own, and the flag by which the other end's worker answers an echo at once.
const PADDING: u8 = 0;
const ECHO_REQUEST: u8 = 1;
const ECHO_REPLY: u8 = 2;
const AT_ONCE: u8 = 2;

/// Padding that was sent or received: records, octets.
type Amount = (u64, u64);

/// Padding and echoes of all sessions.
#[derive(Debug, Default)]
pub(super) struct Paddings {
    running: Vec<Padding>,
    sent: HashMap<SessionIndex, Amount>,
    /// Echoes that wait for their replies.
    echoes: HashMap<u64, Now>,
    times: Vec<(u64, Duration)>,
}

/// Padding that is being sent.
#[derive(Debug)]
struct Padding {
    session: SessionIndex,
    /// Octets a second.
    rate: u64,
    began: Now,
    until: Now,
    octets: u64,
    path: usize,
}

impl Paddings {
    /// Takes the reply to an echo of ours.
    pub(super) fn echo_reply(&mut self, at: Now, block: &[u8]) {
        let [ECHO_REPLY, rest @ ..] = block else { return };
        let Some(token) = rest.first_chunk().map(|token| u64::from_be_bytes(*token)) else { return };
        if let Some(sent) = self.echoes.remove(&token) {
            self.times.push((token, at.saturating_sub(sent)));
        }
    }

    fn start(&mut self, session: SessionIndex, rate: u64, seconds: u64, now: Now) -> bool {
        if self.running.len() >= MAX_PADDINGS || self.running.iter().any(|running| running.session == session)
        {
            return false;
        }
        let rate = rate.clamp(1, MAX_RATE) * 1_000_000 / 8;
        let until = now + Duration::from_secs(seconds.clamp(1, MAX_SECONDS));
        self.running.push(Padding { session, rate, began: now, until, octets: 0, path: 0 });
        true
    }
}

impl Appliance {
    /// Sends the padding that is due.
    pub(super) fn send_padding(&mut self, now: Now) {
        let mut running = std::mem::take(&mut self.insight.paddings.running);
        running.retain(|padding| now < padding.until && self.sessions.view(padding.session).is_some());
        for padding in &mut running {
            let due = (now.saturating_sub(padding.began).as_secs_f64() * padding.rate as f64) as u64;
            for _ in 0..ROUND {
                if padding.octets >= due {
                    break;
                }
                let Some(octets) = self.pad(padding) else { break };
                padding.octets += u64::from(octets);
                let sent = self.insight.paddings.sent.entry(padding.session).or_default();
                *sent = (sent.0 + 1, sent.1 + u64::from(octets));
            }
            // What was not sent in its time is not made up for.
            padding.octets = padding.octets.max(due.saturating_sub(ROUND * 1500));
        }
        self.insight.paddings.running = running;
    }

    /// Sends one record of padding by the next usable path, and returns its size.
    fn pad(&mut self, padding: &mut Padding) -> Option<u16> {
        let view = self.sessions.view(padding.session)?;
        let usable: Vec<usize> = (0..view.paths.len()).filter(|at| view.paths[*at].usable).collect();
        padding.path = padding.path.wrapping_add(1);
        let path = *usable.get(padding.path % usable.len().max(1))?;
        let record = view.paths[path].max_record;
        let block: ControlBlock = [PADDING].into_iter().collect();
        self.command(0, Command::SendControl { session: padding.session, path, to: None, block, record });
        Some(record)
    }

    fn echo(&mut self, session: SessionIndex, token: u64, now: Now) {
        let block =
            [&[ECHO_REQUEST][..], &token.to_be_bytes(), &[AT_ONCE | 1]].concat().into_iter().collect();
        self.insight.paddings.echoes.insert(token, now);
        self.command(0, Command::SendControl { session, path: 0, to: None, block, record: 0 });
    }

    /// What we have counted, for the other end of a session.
    pub(super) fn path_view(&self, session: SessionIndex) -> Details {
        let counters = self.counters().session(usize::from(session.0));
        let sent = self.insight.paddings.sent.get(&session).copied().unwrap_or_default();
        vec![
            ("rx_padding_records".into(), Detail::Uint(counters.rx_padding_records)),
            ("rx_padding_octets".into(), Detail::Uint(counters.rx_padding_octets)),
            ("tx_padding_records".into(), Detail::Uint(sent.0)),
            ("tx_padding_octets".into(), Detail::Uint(sent.1)),
        ]
    }

    /// The other end of a session wants padding.
    pub(super) fn padding_wanted(&mut self, session: SessionIndex, details: &Details) -> Option<Details> {
        let rate = get(details, "rate")?.uint()?;
        let seconds = get(details, "seconds")?.uint()?;
        let now = self.now();
        let started = self.insight.paddings.start(session, rate, seconds, now);
        let mut view = self.path_view(session);
        view.push(("started".into(), Detail::Bool(started)));
        Some(view)
    }
}

/// A test on its way.
struct PathTest {
    reply: Option<Reply>,
    session: SessionIndex,
    rate: u64,
    seconds: u64,
    first_echo: u64,
    echoes: u64,
    next_echo: Now,
    stage: Stage,
}

enum Stage {
    /// The other end is asked for padding.
    Asking(u64),
    /// Padding goes both ways; what both ends had counted before.
    Running { before: Before, until: Now },
    /// The other end is asked what it has counted.
    Counting { before: Before, number: u64 },
}

#[derive(Clone, Copy)]
struct Before {
    ours: (Amount, Amount),
    theirs: (Amount, Amount),
    they_send: bool,
}

/// Received and sent padding of the other end.
fn amounts(details: &Details) -> (Amount, Amount) {
    let uint = |name: &str| get(details, name).and_then(Detail::uint).unwrap_or(0);
    (
        (uint("rx_padding_records"), uint("rx_padding_octets")),
        (uint("tx_padding_records"), uint("tx_padding_octets")),
    )
}

/// Starts one.
pub(super) fn start(appliance: &mut Appliance, words: &[&str], reply: Reply) {
    match begin(appliance, words) {
        Ok((session, rate, seconds, number)) => {
            let first_echo = appliance.insight.token();
            let next_echo = appliance.now();
            let (reply, stage) = (Some(reply), Stage::Asking(number));
            appliance.start_job(PathTest {
                reply,
                session,
                rate,
                seconds,
                first_echo,
                echoes: 0,
                next_echo,
                stage,
            });
        }
        Err(error) => reply.answer(Err(error)),
    }
}

fn begin(appliance: &mut Appliance, words: &[&str]) -> Result<(SessionIndex, u64, u64, u64), String> {
    const USAGE: &str = "test path SITE [rate MBITS] [seconds N]";
    appliance.has_room_for_a_job()?;
    let [site, rest @ ..] = words else { return Err(format!("the words are: {USAGE}")) };
    let session = appliance.with_shown(|shown| capture::session(site, shown))?;
    let (mut rate, mut seconds) = (RATE, SECONDS);
    for pair in rest.chunks(2) {
        let number = |most: u64| {
            let number = pair.get(1).and_then(|word| word.parse().ok());
            number
                .filter(|number| (1..=most).contains(number))
                .ok_or_else(|| format!("{} is 1 to {most}", pair[0]))
        };
        match pair[0] {
            "rate" => rate = number(MAX_RATE)?,
            "seconds" => seconds = number(MAX_SECONDS)?,
            other => return Err(format!("\"{other}\" is unknown; the words are: {USAGE}")),
        }
    }
    if appliance.sessions.view(session).is_none() {
        return Err(format!("the session with site {site} is down"));
    }
    let details = vec![("rate".into(), Detail::Uint(rate)), ("seconds".into(), Detail::Uint(seconds))];
    let number = appliance.ask(session, "padding", details);
    let number =
        number.ok_or_else(|| format!("site {site} cannot be asked: its control connection is lost"))?;
    Ok((session, rate, seconds, number))
}

impl Job for PathTest {
    fn work(&mut self, appliance: &mut Appliance, now: Now) -> bool {
        if self.reply.as_ref().is_none_or(Reply::is_gone) {
            self.give_up(&mut appliance.insight.paddings);
            return true;
        }
        let done = match self.stage {
            Stage::Asking(number) => match appliance.insight.asks.take(number, now) {
                Answered::Waiting => return false,
                Answered::NotKnown => {
                    Err("the other end does not answer questions: its software is older".to_owned())
                }
                Answered::Known(details) => {
                    let before = Before {
                        ours: amounts(&appliance.path_view(self.session)),
                        theirs: amounts(&details),
                        they_send: get(&details, "started").is_some_and(Detail::is_true),
                    };
                    if !appliance.insight.paddings.start(self.session, self.rate, self.seconds, now) {
                        return self
                            .answer(Err("there is a test of this path already, or of too many".into()));
                    }
                    let until = now + Duration::from_secs(self.seconds) + TAIL;
                    self.stage = Stage::Running { before, until };
                    return false;
                }
            },
            Stage::Running { before, until } => {
                if now < until {
                    if now >= self.next_echo && now + TAIL < until {
                        self.next_echo = now + ECHO_INTERVAL;
                        appliance.echo(self.session, self.first_echo.wrapping_add(self.echoes), now);
                        self.echoes += 1;
                    }
                    return false;
                }
                match appliance.ask(self.session, "path", Vec::new()) {
                    Some(number) => {
                        self.stage = Stage::Counting { before, number };
                        return false;
                    }
                    None => Err("the control connection was lost".to_owned()),
                }
            }
            Stage::Counting { before, number } => match appliance.insight.asks.take(number, now) {
                Answered::Waiting => return false,
                Answered::NotKnown => Err("the other end did not say what arrived".to_owned()),
                Answered::Known(details) => Ok(self.result(appliance, &before, &details)),
            },
        };
        self.answer(done)
    }
}

impl PathTest {
    fn answer(&mut self, answer: Result<Value, String>) -> bool {
        if let Some(reply) = self.reply.take() {
            reply.answer(answer);
        }
        true
    }

    /// Nobody waits for the result: nothing is sent for it any more. What the other end sends ends by itself.
    fn give_up(&self, paddings: &mut Paddings) {
        if matches!(self.stage, Stage::Running { .. }) {
            paddings.running.retain(|running| running.session != self.session);
        }
        let _ = self.times(paddings);
    }

    /// Takes how long each of our echoes took.
    fn times(&self, paddings: &mut Paddings) -> Vec<(u64, Duration)> {
        let mine = |token: u64| token.wrapping_sub(self.first_echo) < self.echoes;
        paddings.echoes.retain(|token, _| !mine(*token));
        paddings.times.extract_if(.., |(token, _)| mine(*token)).collect()
    }

    fn result(&self, appliance: &mut Appliance, before: &Before, details: &Details) -> Value {
        let ours = amounts(&appliance.path_view(self.session));
        let theirs = amounts(details);
        let to = way(grown(ours.1, before.ours.1), grown(theirs.0, before.theirs.0), self.seconds);
        let from = way(grown(theirs.1, before.theirs.1), grown(ours.0, before.ours.0), self.seconds);
        let mut times = self.times(&mut appliance.insight.paddings);
        times.sort_by_key(|(token, _)| token.wrapping_sub(self.first_echo));
        let times: Vec<f64> = times.into_iter().map(|(_, time)| time.as_secs_f64() * 1000.0).collect();
        json!({
            "site": appliance.site_name(self.session),
            "seconds": self.seconds,
            "rate_mbps": self.rate,
            "to": to,
            "from": if before.they_send { from } else { Value::Null },
            "round_trip": round_trip(&times, self.echoes),
        })
    }
}

fn grown(now: Amount, before: Amount) -> Amount {
    (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
}

fn way(sent: Amount, received: Amount, seconds: u64) -> Value {
    let lost = sent.0.saturating_sub(received.0);
    json!({
        "sent_records": sent.0,
        "received_records": received.0,
        "loss_percent": if sent.0 > 0 { 100.0 * lost as f64 / sent.0 as f64 } else { 0.0 },
        "mbps": received.1 as f64 * 8.0 / 1e6 / seconds as f64,
    })
}

/// Times in ms; jitter is the mean difference of one from the next.
fn round_trip(times: &[f64], sent: u64) -> Value {
    if times.is_empty() {
        return json!({ "sent": sent, "answered": 0 });
    }
    let differences: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    json!({
        "sent": sent,
        "answered": times.len(),
        "min_ms": times.iter().copied().fold(f64::INFINITY, f64::min),
        "mean_ms": mean(times),
        "max_ms": times.iter().copied().fold(0.0, f64::max),
        "jitter_ms": mean(&differences),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SessionIndex = SessionIndex(2);

    #[test]
    fn rate_time_and_number_of_tests_are_bounded() {
        let mut paddings = Paddings::default();
        assert!(paddings.start(SITE, u64::MAX, u64::MAX, Duration::ZERO));
        assert_eq!(paddings.running[0].rate, MAX_RATE * 125_000);
        assert_eq!(paddings.running[0].until, Duration::from_secs(MAX_SECONDS));
        assert!(!paddings.start(SITE, 1, 1, Duration::ZERO), "one for each site");
        let more = (10..20).filter(|site| paddings.start(SessionIndex(*site), 1, 1, Duration::ZERO)).count();
        assert_eq!(more, MAX_PADDINGS - 1);
    }

    #[test]
    fn echoes_are_timed_once_and_only_ours() {
        let mut paddings = Paddings::default();
        paddings.echoes.insert(7, Duration::from_millis(10));
        let reply = |token: u64| [&[ECHO_REPLY][..], &token.to_be_bytes(), &[3]].concat();
        for block in [&reply(8)[..], &reply(7)[..5], &[], &reply(7), &reply(7)] {
            paddings.echo_reply(Duration::from_millis(15), block);
        }
        assert_eq!(paddings.times, [(7, Duration::from_millis(5))]);
    }

    #[test]
    fn who_goes_away_leaves_nothing_behind() {
        let mut paddings = Paddings::default();
        for site in [SITE, SessionIndex(3)] {
            assert!(paddings.start(site, 1, 10, Duration::ZERO));
        }
        for token in 6..9 {
            paddings.echoes.insert(token, Duration::ZERO);
            paddings.times.push((token, Duration::ZERO));
        }
        let before = Before { ours: Default::default(), theirs: Default::default(), they_send: true };
        let stage = Stage::Running { before, until: Duration::from_secs(10) };
        let next_echo = Duration::ZERO;
        let test = PathTest {
            reply: None,
            session: SITE,
            rate: 1,
            seconds: 10,
            first_echo: 7,
            echoes: 2,
            next_echo,
            stage,
        };
        test.give_up(&mut paddings);
        let left: Vec<_> = paddings.running.iter().map(|running| running.session).collect();
        assert_eq!(left, [SessionIndex(3)], "another's goes on");
        assert_eq!((paddings.times.len(), paddings.echoes.len()), (1, 1));
    }

    #[test]
    fn what_was_lost_and_how_times_vary() {
        let result = way((200, 280_000), (150, 210_000), 2);
        assert_eq!((&result["loss_percent"], &result["mbps"]), (&json!(25.0), &json!(0.84)));
        let times = round_trip(&[2.0, 4.0, 3.0], 4);
        assert_eq!(
            (&times["jitter_ms"], &times["mean_ms"], &times["answered"]),
            (&json!(1.5), &json!(3.0), &json!(3))
        );
        assert_eq!(way((0, 0), (0, 0), 1)["loss_percent"], json!(0.0));
    }
}
