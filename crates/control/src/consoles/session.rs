//! One open console: its stream, its conversation, and the answer it waits for.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use ::session::Now;
use console::tree::Names;
use console::{Console, Event as Said, Other, Settings};
use mio::event::Event;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::io::Io;
use super::login::DELAY;
use crate::certificates::unix_now;
use crate::requests::{Asked, Piece, Request, Role, Who};

/// Octets read of one console in one round.
const READ: usize = 256;

/// How long a newcomer has to log in.
const LOGIN_TIME: Duration = Duration::from_secs(60);

/// A reader that takes nothing for so long is let go.
const STUCK: Duration = Duration::from_secs(30);

/// How often the live view is drawn.
const LIVE: Duration = Duration::from_secs(1);

/// What is said last has so long to be taken.
const CLOSING: Duration = Duration::from_secs(2);

/// What a console asks.
pub(crate) enum Asks {
    /// Of the appliance.
    Appliance(Request),
    /// Whether a user's password is right.
    Login(String, Zeroizing<String>, SocketAddr),
}

/// One open console.
#[derive(Debug)]
pub(crate) struct Session {
    io: Io,
    console: Console,
    /// Who it is, once that is known.
    pub(crate) who: Option<Who>,
    /// Where a TCP connection comes from.
    pub(crate) from: Option<SocketAddr>,
    /// Who wants to log in.
    user: Option<String>,
    /// A refusal that is told later.
    refusal: Option<(Now, String)>,
    /// The command whose answer is waited for.
    waits: Option<Asked>,
    /// Those whose answers nobody wants any more. What became of them is for the log all the same.
    left: Vec<Asked>,
    last: String,
    out: Vec<u8>,
    written: usize,
    readable: bool,
    writable: bool,
    connected: Now,
    typed: Now,
    /// When the live view was asked for last.
    drawn: Now,
    /// When output was taken last, or there was none.
    moved: Now,
    closing: Option<Now>,
    gone: bool,
    /// Since when it is in the configuration mode.
    configures: Option<String>,
    /// Why it ends.
    why: &'static str,
}

impl Session {
    pub(super) fn new(
        io: Io,
        name: &str,
        telnet: bool,
        who: Option<Who>,
        from: Option<SocketAddr>,
        now: Now,
    ) -> Self {
        let user = who.as_ref().map(|who| (console_user(who), who.role));
        Self {
            io,
            console: Console::new(Settings { name: name.into(), telnet, user }),
            who,
            from,
            user: None,
            refusal: None,
            waits: None,
            left: Vec::new(),
            last: String::new(),
            out: Vec::new(),
            written: 0,
            readable: true,
            writable: true,
            connected: now,
            typed: now,
            drawn: now,
            moved: now,
            closing: None,
            gone: false,
            configures: None,
            why: "by its user",
        }
    }

    pub(super) fn ready(&mut self, event: &Event) {
        self.gone |= event.is_error() || (event.is_write_closed() && event.is_read_closed());
        self.readable |= event.is_readable() || event.is_read_closed();
        self.writable |= event.is_writable();
    }

    pub(super) fn typed(&mut self, octets: &[u8], now: Now, names: &dyn Names) {
        self.typed = now;
        self.console.receive(octets, names);
    }

    /// What others are told of it while it is in the configuration mode.
    pub(super) fn editing(&self) -> Option<Other> {
        let (who, since) = self.who.as_ref().zip(self.configures.clone())?;
        let user = if self.from.is_some() { who.user.clone() } else { console_user(who) };
        Some(Other { user, from: who.from.clone(), since })
    }

    /// Reads what was typed, and returns what is asked. All of it, so that no answer comes for another command than the one that is
    /// waited for. `others` are those in the configuration mode.
    pub(super) fn read(&mut self, now: Now, others: Vec<Other>, names: &dyn Names) -> Vec<Asks> {
        self.console.others(others);
        // Also while there is output that nobody takes: it may be ^C that is typed.
        if self.readable && !self.gone && self.console.wants_input() {
            let mut octets = [0; READ];
            match self.io.read(&mut octets) {
                Ok(0) => {
                    self.readable = false;
                    self.console.end_of_input(names);
                }
                Ok(n) => self.typed(&octets[..n], now, names),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.readable = false;
                    self.console.end_of_input(names);
                }
                Err(_) => self.gone = true,
            }
        }
        match (self.console.configures(), &self.configures) {
            (true, None) => self.configures = Some(pki::date(unix_now())),
            (false, Some(_)) => self.configures = None,
            _ => {}
        }
        if let Some((_, reason)) = self.refusal.take_if(|(until, _)| now >= *until) {
            self.console.logged_in(Err(reason), names);
        }
        let mut asks = Vec::new();
        while let Some(said) = self.console.poll_event() {
            match said {
                Said::Ask(line) => {
                    let Some(who) = self.who.clone() else { continue };
                    // The live view asks again and again.
                    let way = (line != "show top").then_some("console");
                    let (asked, request) = Asked::new(who, line, way);
                    self.last = asked.command().into();
                    self.left.extend(self.waits.replace(asked));
                    asks.push(Asks::Appliance(request));
                }
                Said::Login { user, password } => {
                    let Some(from) = self.from else { continue };
                    self.user = Some(user.clone());
                    asks.push(Asks::Login(user, password, from));
                }
                Said::Cancel => {
                    self.waits.iter_mut().for_each(Asked::cancel);
                    self.left.extend(self.waits.take());
                    self.drop_output();
                }
                Said::Did(line, result) => self.audit(&line, &result),
                Said::Close => self.closing = Some(self.closing.unwrap_or(now + CLOSING)),
            }
        }
        asks
    }

    /// Drops what was not sent yet behind the line that is being sent.
    fn drop_output(&mut self) {
        let rest = self.out[self.written..].iter().position(|octet| *octet == b'\n');
        self.out.truncate(rest.map_or(self.out.len(), |rest| self.written + rest + 1));
    }

    /// The user whose password was being checked, and where from.
    pub(super) fn checked(&mut self) -> Option<(String, SocketAddr)> {
        self.user.take().zip(self.from)
    }

    /// The password was right for this role, or wrong.
    pub(super) fn logged_in(
        &mut self,
        user: String,
        from: SocketAddr,
        role: Option<Role>,
        now: Now,
        names: &dyn Names,
    ) {
        let result = if role.is_some() { "logged in" } else { "wrong user or password" };
        tracing::info!(target: "audit", user = console::printable(&user), %from, result, "console login");
        match role {
            Some(role) => {
                self.who = Some(Who { user, from: from.to_string(), role });
                self.console.logged_in(Ok(role), names);
            }
            None => self.refused("wrong user or password".into(), now),
        }
    }

    /// Tells a refusal, a moment later.
    pub(super) fn refused(&mut self, reason: String, now: Now) {
        self.user = None;
        self.refusal = Some((now + DELAY, reason));
    }

    /// Ends from our side.
    pub(super) fn end(&mut self, reason: &'static str) {
        self.why = reason;
        self.console.say(reason);
        self.console.close();
    }

    pub(super) fn write(&mut self, now: Now, idle: Duration, names: &dyn Names) {
        self.take_answer(names);
        self.keep_time(now, idle);
        loop {
            if self.written == self.out.len() {
                self.out = self.console.take_output(names);
                self.written = 0;
                if self.out.is_empty() {
                    self.moved = now;
                    break;
                }
            }
            if !self.writable || self.gone {
                break;
            }
            match self.io.write(&self.out[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    self.moved = now;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(_) => self.gone = true,
            }
        }
        if self.writable && !self.gone {
            match self.io.flush() {
                Ok(true) => {}
                Ok(false) => self.writable = false,
                Err(_) => self.gone = true,
            }
        }
        if self.is_done(now) {
            self.io.close();
        }
    }

    pub(super) fn is_done(&self, now: Now) -> bool {
        let all_taken = self.out.is_empty();
        self.gone || self.closing.is_some_and(|until| all_taken || now >= until) || now >= self.moved + STUCK
    }

    /// Notes the end.
    pub(super) fn ended(&self, now: Now) {
        let Some(who) = &self.who else { return };
        let result = match self.closing {
            Some(_) => self.why,
            None if self.gone => "its connection ended",
            None if now >= self.moved + STUCK => "nobody took its output",
            None => self.why,
        };
        tracing::info!(target: "audit", user = who.user, from = who.from, result, "console closed");
    }

    pub(super) fn show(&self, now: Now) -> Value {
        json!({
            "user": self.who.as_ref().map_or("(login)", |who| who.user.as_str()),
            "from": self.from.map_or_else(|| "local".into(), |from| from.to_string()),
            "role": self.who.as_ref().map(|who| who.role.name()),
            "connected_s": now.saturating_sub(self.connected).as_secs(),
            "idle_s": now.saturating_sub(self.typed).as_secs(),
            "last": self.last,
            "configures_since": self.configures,
        })
    }

    fn take_answer(&mut self, names: &dyn Names) {
        // By now it was answered, if that needs no time.
        self.left.clear();
        while let Some(asked) = &mut self.waits {
            if !self.console.wants_lines() {
                return;
            }
            let answer = match asked.take() {
                Some(Piece::Line(value)) => {
                    self.console.line(&value);
                    continue;
                }
                Some(Piece::Octets(octets)) => {
                    self.console.line(&Value::from(format!("{} octets that are no text", octets.len())));
                    continue;
                }
                Some(Piece::Answer(answer)) => answer,
                None if asked.has_ended() => Ok(Value::Null),
                None => return,
            };
            self.waits = None;
            self.console.answer(answer.as_ref().map_err(String::as_str), names);
        }
    }

    fn keep_time(&mut self, now: Now, idle: Duration) {
        if self.closing.is_some() {
            return;
        }
        if self.who.is_none() && now >= self.connected + LOGIN_TIME {
            self.end("nobody has logged in");
        } else if (self.waits.is_none() || self.console.is_live()) && now >= self.typed + idle {
            self.end("idle for too long");
        } else if self.console.is_live() && now >= self.drawn + LIVE {
            self.drawn = now;
            self.console.tick();
        }
    }

    /// Notes a command that the console itself has done, or could not read.
    fn audit(&self, line: &str, result: &str) {
        let Some(who) = &self.who else { return };
        let command = console::printable(&crate::requests::masked(line));
        tracing::info!(target: "audit", user = who.user, from = who.from, command, result, "console");
    }
}

/// Under which name somebody on the Unix socket has a candidate.
fn console_user(who: &Who) -> String {
    who.user.replace(' ', "-")
}
