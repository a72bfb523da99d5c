//! Consoles over sockets, in virtual time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream as Plain;
use std::time::Duration;

use console::tree::NoNames;
use mio::{Events, Poll};
use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::logbook::LogBook;

const IDLE: Duration = Duration::from_secs(600);

struct Served {
    poll: Poll,
    consoles: Consoles,
    now: Now,
    asked: Vec<Request>,
}

/// The other end of a console, with what it has read.
struct Client<S>(S, String);

impl Served {
    fn new(listen: Option<&str>, max_sessions: usize) -> Self {
        let poll = Poll::new().expect("a poll");
        let listen = listen.map(|address| address.parse().expect("an address"));
        let config = config::Console { listen, tls: None, idle: IDLE, max_sessions, users: Vec::new() };
        let consoles = Consoles::new(&config, poll.registry()).expect("listens");
        Self { poll, consoles, now: Now::from_secs(1), asked: Vec::new() }
    }

    /// A console on the Unix socket, with single keys or whole lines.
    fn local(&mut self, user: &str, telnet: bool) -> Client<Plain> {
        let (ours, theirs) = Plain::pair().expect("a pair");
        for stream in [&ours, &theirs] {
            stream.set_nonblocking(true).expect("set");
        }
        let mut stream = UnixStream::from_std(ours);
        self.poll.registry().register(&mut stream, Token(1), Interest::READABLE).expect("registers");
        let who = Who { user: user.into(), from: "local".into(), role: Role::Admin };
        let new = NewConsole { stream, who, telnet, typed: Vec::new() };
        self.consoles.open(new, self.poll.registry(), self.now, &NoNames);
        Client(theirs, String::new())
    }

    fn remote(&self) -> Client<TcpStream> {
        let listener = self.consoles.listener.as_ref().expect("listens");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        stream.set_nonblocking(true).expect("set");
        Client(stream, String::new())
    }

    fn round(&mut self) {
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::from_millis(1))).expect("polls");
        let events: Vec<Event> = events.iter().cloned().collect();
        self.asked.extend(self.consoles.requests(self.poll.registry(), &events, self.now, &NoNames));
        self.consoles.flush(self.now, &NoNames);
    }

    /// Goes on until this holds.
    fn wait(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..5000 {
            if holds(self) {
                return;
            }
            self.round();
        }
        panic!("not yet: {what}");
    }

    /// Goes on until the client has read this.
    fn until<S: Read>(&mut self, client: &mut Client<S>, text: &str) {
        for _ in 0..5000 {
            self.round();
            client.read();
            if client.1.contains(text) {
                return;
            }
        }
        panic!("{text:?} does not come, but {:?}", client.1);
    }

    /// Goes on until the client's connection has ended.
    fn until_end<S: Read>(&mut self, client: &mut Client<S>) {
        for _ in 0..5000 {
            self.round();
            if client.read() {
                return;
            }
        }
        panic!("does not end: {:?}", client.1);
    }

    fn shown(&self, what: &str) -> Value {
        self.consoles.show(self.now)[what].clone()
    }

    /// How many consoles are open.
    fn open(&self) -> usize {
        self.consoles.sessions.len()
    }
}

impl<S: Read> Client<S> {
    /// Reads what there is. Returns whether that was the end.
    fn read(&mut self) -> bool {
        let mut octets = [0; 4096];
        loop {
            match self.0.read(&mut octets) {
                Ok(0) => return true,
                Ok(n) => self.1 += &String::from_utf8_lossy(&octets[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }
}

impl<S: Write> Client<S> {
    fn types(&mut self, text: &[u8]) {
        self.1.clear();
        self.0.write_all(text).expect("room");
    }
}

/// What stands in the log of consoles that were closed.
fn closed(log: &LogBook) -> Vec<String> {
    let lines = log.show(Level::INFO, 100)["lines"].as_array().cloned().unwrap_or_default();
    let lines = lines.iter().filter(|line| line["target"] == "audit").map(|line| line["message"].to_string());
    lines.filter(|line| line.contains("console closed")).collect()
}

#[test]
fn who_types_nothing_is_let_go_and_the_log_says_why() {
    let log = LogBook::default();
    let subscriber = tracing_subscriber::registry().with(log.clone());
    tracing::subscriber::with_default(subscriber, || {
        let mut served = Served::new(None, 1);
        let mut idle = served.local("uid 1", false);
        let mut live = served.local("uid 2", true);
        // Single keys, for the live view.
        live.types(b"\xff\xfd\x01\xff\xfd\x03top\r");
        let mut waiting = served.local("uid 3", false);
        waiting.types(b"show ports\n");
        served.wait("both have asked", |served| served.asked.len() == 2);
        let mut busy = served.local("uid 4", false);
        served.until(&mut busy, "# ");
        served.until(&mut idle, "# ");
        served.now += IDLE - Duration::from_secs(1);
        busy.types(b"\n");
        served.until(&mut busy, "# ");
        assert!(!idle.1.contains("idle"), "not yet");
        served.now += Duration::from_secs(1);
        for client in [&mut idle, &mut live] {
            served.until_end(client);
            assert!(client.1.contains("\nidle for too long"), "{:?}", client.1);
        }
        assert_eq!(served.open(), 2, "who waits for an answer, and who has typed, are not idle");
        let told = closed(&log);
        assert_eq!(told.len(), 2, "{told:?}");
        for (user, line) in ["uid 1", "uid 2"].iter().zip(&told) {
            assert!(
                line.contains(user) && line.contains("local") && line.contains("idle for too long"),
                "{line}"
            );
        }
        busy.types(b"exit\n");
        served.until_end(&mut busy);
        drop(waiting);
        served.wait("all have gone", |served| served.open() == 0);
        let told = closed(&log);
        assert!(told[2].contains("uid 4") && told[2].contains("by its user"), "{told:?}");
        assert!(told[3].contains("uid 3") && told[3].contains("its connection ended"), "{told:?}");
    });
}

#[test]
fn beyond_the_limit_it_is_said_so_and_the_owner_comes_in() {
    let mut served = Served::new(Some("127.0.0.1:0"), 2);
    let mut open: Vec<_> = (0..2).map(|_| served.remote()).collect();
    open.iter_mut().for_each(|client| served.until(client, "Login: "));
    let mut late = served.remote();
    served.until_end(&mut late);
    assert!(
        late.1.starts_with("all 2 consoles that come over TCP (console.max_sessions) are in use"),
        "{:?}",
        late.1
    );
    assert_eq!(served.shown("refused"), 1);
    // However many knock: a few are told, all are closed, and the owner has places of his own.
    let mut many: Vec<_> = (0..40).map(|_| served.remote()).collect();
    let mut owner = served.local("uid 0", false);
    served.until(&mut owner, "# ");
    owner.types(b"show ports\n");
    served.wait("it has asked", |served| !served.asked.is_empty());
    many.iter_mut().for_each(|client| served.until_end(client));
    assert!(many.iter().filter(|client| client.1.contains("in use")).count() >= MAX_REFUSALS);
    assert_eq!(served.shown("refused"), 41);
    drop(open.pop());
    served.wait("one has gone", |served| served.open() == 2);
    let mut next = served.remote();
    served.until(&mut next, "Login: ");
    // And the places of the Unix socket have an end too.
    let local: Vec<_> = (0..MAX_LOCAL).map(|_| served.local("uid 0", false)).collect();
    let mut last = local.into_iter().last().expect("there are some");
    served.until_end(&mut last);
    assert!(last.1.starts_with("all 32 consoles on the Unix socket are in use"), "{:?}", last.1);
}

#[test]
fn who_configures_is_told_of_others() {
    let mut served = Served::new(None, 1);
    let (mut first, mut second) = (served.local("uid 0", false), served.local("uid 0", false));
    let mut other = served.local("uid 7", false);
    first.types(b"configure\n");
    served.until(&mut first, "(config)# ");
    assert!(!first.1.contains("! "), "{:?}", first.1);
    second.types(b"configure\n");
    served.until(&mut second, "(config)# ");
    assert!(
        second.1.contains("! uid-0 from local, since 2") && second.1.contains("this same candidate"),
        "{:?}",
        second.1
    );
    other.types(b"configure\n");
    served.until(&mut other, "(config)# ");
    assert_eq!(other.1.matches("! uid-0 from local").count(), 2, "{:?}", other.1);
    first.types(b"commit\n");
    served.wait("it has asked", |served| !served.asked.is_empty());
    served.until(&mut first, "! uid-7 from local");
    assert_eq!(first.1.matches("! uid").count(), 2, "{:?}", first.1);
    served.asked.clear();
    // Who has left the mode, or gone, is no matter.
    second.types(b"exit\n");
    served.until(&mut second, "# ");
    drop(other);
    served.wait("one has gone", |served| served.open() == 2);
    first.types(b"commit\n");
    served.wait("it has asked", |served| !served.asked.is_empty());
    first.read();
    assert!(!first.1.contains("! uid"), "{:?}", first.1);
}
