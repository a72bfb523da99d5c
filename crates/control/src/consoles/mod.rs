//! The consoles that are open, and where they come from: the Unix socket, and TCP if the configuration says so.
//!
//! A console over the Unix socket is an admin's, since the file's mode says who may open it; no limit or lock of the others reaches it. Over
//! TCP there is a login. A reader that does not read, a line that never ends, or two hundred connections cost bounded memory, and no time of
//! anybody else.

pub mod client;
mod io;
mod login;
mod refusal;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;

use ::session::Now;
use bridge::Fdb;
use config::User;
use config::edit::Hint;
use console::Other;
use console::tree::{Arg, Names};
use mio::event::Event;
use mio::net::{TcpListener, UnixStream};
use mio::{Interest, Registry, Token};
use serde_json::{Value, json};

use crate::configure::Configure;
use crate::layout::Layout;
use crate::requests::{Request, Role, Who};
pub(crate) use io::ConsoleTls;
use io::Io;
use login::Logins;
use refusal::Refusal;
use session::{Asks, Session};

/// Most consoles over the Unix socket.
const MAX_LOCAL: usize = 32;

/// Most who are told at one time that there is no place for them. Beyond that connections are closed without a word.
const MAX_REFUSALS: usize = 8;

/// Learned MAC addresses up to which they are completed.
const MAX_MACS: usize = 4096;

/// Connections accepted in one round.
const ACCEPTS_PER_ROUND: usize = 16;

/// All consoles.
pub(crate) struct Consoles {
    config: config::Console,
    name: String,
    listener: Option<TcpListener>,
    tls: Option<ConsoleTls>,
    logins: Logins,
    sessions: BTreeMap<usize, Session>,
    next: usize,
    /// Connections that found no room.
    refused: u64,
    /// Those of them that are told so.
    refusals: Vec<Refusal>,
}

/// A connection of the Unix socket that wants to be a console.
#[derive(Debug)]
pub(crate) struct NewConsole {
    /// The connection.
    pub(crate) stream: UnixStream,
    /// Who it is.
    pub(crate) who: Who,
    /// Whether telnet options are understood at the other end.
    pub(crate) telnet: bool,
    /// What came behind the request.
    pub(crate) typed: Vec<u8>,
}

/// A changed configuration that has passed its checks, with what the system gave for it.
pub(crate) struct Prepared {
    config: config::Console,
    tls: Option<ConsoleTls>,
    /// Where to listen, if that is another address.
    listener: Option<TcpListener>,
}

impl Consoles {
    /// Tokens of consoles; the first is the listener's.
    const TOKENS: Range<usize> = 2 << 48..3 << 48;

    /// Listens where the configuration says.
    ///
    /// # Errors
    /// The system, or a file of it.
    pub(crate) fn new(config: &config::Console, registry: &Registry) -> Result<Self, String> {
        let logins = Logins::start().map_err(|error| format!("cannot start a thread: {error}"))?;
        let mut consoles = Self {
            config: config::Console { listen: None, tls: None, ..config.clone() },
            name: host_name(),
            listener: None,
            tls: None,
            logins,
            sessions: BTreeMap::new(),
            next: 0,
            refused: 0,
            refusals: Vec::new(),
        };
        let prepared = consoles.prepare(config, registry)?;
        consoles.apply(prepared);
        Ok(consoles)
    }

    /// Reads the files of a changed configuration, and listens where it says. Nothing changes yet.
    ///
    /// # Errors
    /// As [`Consoles::new`].
    pub(crate) fn prepare(&self, config: &config::Console, registry: &Registry) -> Result<Prepared, String> {
        let tls = match &config.tls {
            Some((certificate, key)) => {
                Some(ConsoleTls::from_files(certificate, key).map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let listener = match config.listen {
            Some(address) if self.config.listen != Some(address) => Some(listen(address, registry)?),
            _ => None,
        };
        Ok(Prepared { config: config.clone(), tls, listener })
    }

    /// Puts what was prepared in force. Consoles go on, but those of users who are gone or have another role or password.
    pub(crate) fn apply(&mut self, Prepared { config, tls, listener }: Prepared) {
        if config.listen != self.config.listen {
            self.listener = listener;
            if let Some(address) = config.listen {
                tracing::info!(%address, tls = tls.is_some(), "consoles are served");
            }
        }
        self.tls = tls;
        let old = std::mem::replace(&mut self.config, config);
        for session in self.sessions.values_mut().filter(|session| session.from.is_some()) {
            let user = session.who.as_ref().map(|who| who.user.clone());
            let of = |users: &[User]| users.iter().find(|known| Some(&known.name) == user.as_ref()).cloned();
            if user.is_some() && of(&old.users) != of(&self.config.users) {
                session.end("your user was changed");
            }
        }
    }

    /// Takes over a connection of the Unix socket.
    pub(crate) fn open(&mut self, new: NewConsole, registry: &Registry, now: Now, names: &dyn Names) {
        let NewConsole { stream, who, telnet, typed } = new;
        if self.sessions.values().filter(|session| session.from.is_none()).count() >= MAX_LOCAL {
            return self.refuse(Io::Unix(stream), MAX_LOCAL, "on the Unix socket", now);
        }
        let token = self.token();
        let mut io = Io::Unix(stream);
        if io.register(registry, Token(token), true).is_ok() {
            tracing::info!(target: "audit", user = who.user, from = who.from, "console opened");
            let mut session = Session::new(io, &self.name, telnet, Some(who), None, now);
            session.typed(&typed, now, names);
            self.sessions.insert(token, session);
        }
    }

    /// Takes newcomers and what was typed, and returns what the appliance is asked.
    pub(crate) fn requests(
        &mut self,
        registry: &Registry,
        events: &[Event],
        now: Now,
        names: &dyn Names,
    ) -> Vec<Request> {
        self.accept(registry, now);
        for event in events {
            if let Some(session) = self.sessions.get_mut(&event.token().0) {
                session.ready(event);
            }
        }
        for (token, good) in self.logins.results() {
            let Some(session) = self.sessions.get_mut(&token) else { continue };
            let Some((user, from)) = session.checked() else { continue };
            self.logins.note(now, from.ip(), good);
            let known = self.config.users.iter().find(|known| known.name == user);
            let role =
                known.filter(|_| good).map(|user| if user.admin { Role::Admin } else { Role::Operator });
            session.logged_in(user, from, role, now, names);
        }
        let mut requests = Vec::new();
        let editing = |(token, session): (&usize, &Session)| Some((*token, session.editing()?));
        let mut others: BTreeMap<usize, Other> = self.sessions.iter().filter_map(editing).collect();
        for (token, session) in &mut self.sessions {
            others.remove(token);
            let asked = session.read(now, others.values().cloned().collect(), names);
            others.extend(session.editing().map(|editing| (*token, editing)));
            for asks in asked {
                match asks {
                    Asks::Appliance(request) => requests.push(request),
                    Asks::Login(user, password, from) => {
                        let known = self.config.users.iter().find(|known| known.name == user);
                        let hash = known.map(|user| user.password_hash.clone());
                        if let Err(reason) = self.logins.check(now, *token, from.ip(), hash, password) {
                            tracing::info!(target: "audit", user = console::printable(&user), %from, result = reason, "console login refused");
                            session.refused(reason, now);
                        }
                    }
                }
            }
        }
        requests
    }

    /// Writes what there is to show, and lets go who is done.
    pub(crate) fn flush(&mut self, now: Now, names: &dyn Names) {
        let idle = self.config.idle;
        self.sessions.retain(|_, session| {
            session.write(now, idle, names);
            let done = session.is_done(now);
            if done {
                session.ended(now);
            }
            !done
        });
        self.refusals.retain_mut(|refusal| refusal.goes_on(now));
    }

    /// What `show consoles` shows.
    pub(crate) fn show(&self, now: Now) -> Value {
        let all: Vec<Value> = self.sessions.values().map(|session| session.show(now)).collect();
        json!({
            "consoles": all,
            "listen": self.config.listen.map(|address| address.to_string()),
            "tls": self.tls.is_some(),
            "max_sessions": self.config.max_sessions,
            "max_local": MAX_LOCAL,
            "refused": self.refused,
        })
    }

    fn accept(&mut self, registry: &Registry, now: Now) {
        let Some(listener) = &self.listener else { return };
        let mut accepted = Vec::new();
        for _ in 0..ACCEPTS_PER_ROUND {
            match listener.accept() {
                Ok(new) => accepted.push(new),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a console");
                    break;
                }
            }
        }
        for (stream, from) in accepted {
            let open = self.sessions.values().filter(|session| session.from.is_some()).count();
            let io = Io::accepted(stream, self.tls.as_ref());
            if open >= self.config.max_sessions {
                tracing::debug!(%from, "too many consoles: refused one");
                if let Ok(io) = io {
                    self.refuse(
                        io,
                        self.config.max_sessions,
                        "that come over TCP (console.max_sessions)",
                        now,
                    );
                }
                continue;
            }
            let token = self.token();
            let registered = io.and_then(|mut io| io.register(registry, Token(token), false).map(|()| io));
            if let Ok(io) = registered {
                self.sessions.insert(token, Session::new(io, &self.name, true, None, Some(from), now));
            }
        }
    }

    /// Tells somebody that there is no place for him, if not too many are told so at this moment.
    fn refuse(&mut self, io: Io, most: usize, which: &str, now: Now) {
        self.refused += 1;
        if self.refusals.len() < MAX_REFUSALS {
            let text = format!("all {most} consoles {which} are in use: try again later\r\n");
            self.refusals.push(Refusal::new(io, text, now));
        }
    }

    fn token(&mut self) -> usize {
        self.next += 1;
        Self::TOKENS.start + self.next % (Self::TOKENS.len() - 1) + 1
    }
}

fn listen(address: SocketAddr, registry: &Registry) -> Result<TcpListener, String> {
    let failed = |error: std::io::Error| format!("console.listen: cannot listen on TCP {address}: {error}");
    let mut listener = TcpListener::bind(address).map_err(failed)?;
    registry.register(&mut listener, Token(Consoles::TOKENS.start), Interest::READABLE).map_err(failed)?;
    Ok(listener)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim().split('.').next() {
        None | Some("") => "causeway".into(),
        Some(name) => console::printable(name),
    }
}

/// What the appliance knows by name.
pub(crate) struct Known<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) configure: &'a Configure,
    pub(crate) fdb: &'a Fdb,
}

impl Names for Known<'_> {
    fn names(&self, kind: Arg) -> Vec<String> {
        let config = self.layout.config();
        match kind {
            Arg::Segment => config.segments.iter().map(|segment| segment.name.clone()).collect(),
            Arg::Port => config.ports.iter().map(|port| port.name.clone()).collect(),
            Arg::Site => match &config.mode {
                config::Mode::Server(server) => server.sites.iter().map(|site| site.user.clone()).collect(),
                config::Mode::Client(client) => vec![client.user.clone()],
            },
            // All or none: one that is missing would make another look as if it were the only one.
            Arg::Mac if self.fdb.len() <= MAX_MACS => {
                let macs: BTreeSet<String> = self.fdb.entries().map(|entry| entry.mac.to_string()).collect();
                macs.into_iter().collect()
            }
            Arg::Reason => counters::DropReason::ALL.iter().map(|reason| reason.name().into()).collect(),
            _ => Vec::new(),
        }
    }

    fn configuration(&self, session: &str, words: &[&str]) -> Vec<(String, String)> {
        let hints = self.configure.hints(session, words).into_iter();
        let word =
            |hint: &Hint| if hint.literal { console::words::quote(&hint.word) } else { hint.word.clone() };
        hints.map(|hint| (word(&hint), hint.help)).collect()
    }
}
