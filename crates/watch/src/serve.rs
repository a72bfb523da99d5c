//! The thread that serves HTTP: a few connections at one time, each with a deadline, none of which can hold up another.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::history::{History, STEP};
use crate::http::{self, MAX_REQUEST, Parsed, Request, Response};
use crate::snapshot::Snapshot;
use crate::{metrics, page};

/// Most connections at one time; the oldest makes room.
const MAX_CONNECTIONS: usize = 32;

/// A connection has so long from the first octet to the last.
const PATIENCE: Duration = Duration::from_secs(10);

/// A snapshot is good for so long: however often somebody asks, the control thread makes no more than four a second.
const FRESH: Duration = Duration::from_millis(250);

/// How long the control thread may take for a snapshot.
const ANSWER_TIME: Duration = Duration::from_secs(2);

const LISTENER: Token = Token(0);

/// Where it cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("metrics.listen: cannot serve on {0}: {1}")]
pub struct ServeError(SocketAddr, io::Error);

/// The control thread's end: who asks for snapshots.
#[derive(Debug)]
pub struct Served {
    asked: Receiver<()>,
    answers: Sender<Box<Snapshot>>,
}

/// Somebody who waits for a snapshot.
#[derive(Debug)]
pub struct Asked<'a>(&'a Sender<Box<Snapshot>>);

impl Served {
    /// Whether somebody waits for a snapshot.
    pub fn asked(&self) -> Option<Asked<'_>> {
        self.asked.try_recv().ok().map(|()| Asked(&self.answers))
    }
}

impl Asked<'_> {
    /// Hands it over. Never waits.
    pub fn answer(self, snapshot: Snapshot) {
        // Nobody takes it if it comes too late.
        let _ = self.0.try_send(Box::new(snapshot));
    }
}

/// Listens and starts the thread, which ends with the process.
///
/// # Errors
/// The address is taken, or is none of this machine.
pub fn serve(listen: SocketAddr) -> Result<Served, ServeError> {
    let failed = |error| ServeError(listen, error);
    let mut listener = TcpListener::bind(listen).map_err(failed)?;
    let poll = Poll::new().map_err(failed)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(failed)?;
    let (ask, asked) = bounded(1);
    let (answers, answered) = bounded(1);
    let server = Server {
        poll,
        listener,
        connections: BTreeMap::new(),
        next: LISTENER.0 + 1,
        only_loopback: listen.ip().is_loopback(),
        source: Source { ask, answered, newest: None },
        history: History::default(),
        history_due: Instant::now(),
    };
    std::thread::Builder::new().name("watch".into()).spawn(move || server.run()).map_err(failed)?;
    tracing::info!(%listen, "metrics are served");
    Ok(Served { asked, answers })
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    /// By token; the lowest is the oldest.
    connections: BTreeMap<usize, Connection>,
    next: usize,
    only_loopback: bool,
    source: Source,
    history: History,
    history_due: Instant,
}

struct Connection {
    stream: TcpStream,
    until: Instant,
    received: Vec<u8>,
    answer: Option<(Vec<u8>, usize)>,
}

/// Where snapshots come from.
struct Source {
    ask: Sender<()>,
    answered: Receiver<Box<Snapshot>>,
    newest: Option<(Instant, Box<Snapshot>)>,
}

impl Source {
    /// A fresh snapshot; `None` when the control thread does not answer.
    fn fresh(&mut self) -> Option<&Snapshot> {
        let stale = |(at, _): &(Instant, _)| at.elapsed() > FRESH;
        if self.newest.as_ref().is_none_or(stale) {
            self.newest = None;
            // What came too late for the last question is not fresh.
            self.answered.try_iter().for_each(drop);
            let _ = self.ask.try_send(());
            let snapshot = self.answered.recv_timeout(ANSWER_TIME).ok()?;
            self.newest = Some((Instant::now(), snapshot));
        }
        self.newest.as_ref().map(|(_, snapshot)| &**snapshot)
    }
}

impl Server {
    fn run(mut self) {
        let mut events = Events::with_capacity(MAX_CONNECTIONS + 1);
        loop {
            let now = Instant::now();
            let deadlines = self.connections.values().map(|connection| connection.until);
            let due = deadlines.chain([self.history_due]).min().unwrap_or(now);
            match self.poll.poll(&mut events, Some(due.saturating_duration_since(now))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    tracing::error!(%error, "metrics are served no more");
                    return;
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => {}
                    token => self.drive(token.0),
                }
            }
            // What was not accepted the last time is not told again.
            self.accept();
            let now = Instant::now();
            self.connections.retain(|_, connection| now < connection.until);
            if now >= self.history_due {
                self.history_due = now + STEP;
                if let Some(snapshot) = self.source.fresh() {
                    self.history.note(snapshot);
                }
            }
        }
    }

    fn accept(&mut self) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection for metrics");
                    // Out of descriptors: the next event, or deadline, tries again.
                    return;
                }
            };
            let token = self.next;
            self.next += 1;
            let both = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(token), both).is_err() {
                continue;
            }
            if self.connections.len() >= MAX_CONNECTIONS {
                self.connections.pop_first();
            }
            let until = Instant::now() + PATIENCE;
            self.connections.insert(token, Connection { stream, until, received: Vec::new(), answer: None });
            self.drive(token);
        }
    }

    /// Reads, answers and writes as far as it goes.
    fn drive(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.answer.is_none() {
            let parsed = match connection.read() {
                Ok(Some(parsed)) => parsed,
                Ok(None) => return,
                Err(_) => {
                    self.connections.remove(&token);
                    return;
                }
            };
            let (response, head) = match parsed {
                Parsed::Request(request) => (self.answer(&request), request.head),
                Parsed::Bad(response) => (response, false),
                Parsed::Partial => return,
            };
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.answer = Some((response.encode(head), 0));
            }
        }
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if !matches!(connection.write(), Ok(false)) {
            self.connections.remove(&token);
        }
    }

    fn answer(&mut self, request: &Request) -> Response {
        if self.only_loopback && !request.is_for_loopback() {
            return Response::text(421, "ask for this machine by an address, or as localhost");
        }
        let fixed = match request.path.as_str() {
            "/style.css" => Some(("text/css; charset=utf-8", page::STYLE)),
            "/icon.svg" => Some(("image/svg+xml", page::ICON)),
            _ => None,
        };
        if let Some((kind, body)) = fixed {
            return Response { status: 200, kind, body: body.into() };
        }
        if !matches!(request.path.as_str(), "/" | "/metrics") {
            return Response::text(404, "there are / and /metrics");
        }
        let Some(snapshot) = self.source.fresh() else {
            return Response::text(503, "the control thread does not answer");
        };
        if request.path == "/" {
            let body = page::write(snapshot, &self.history).into_bytes();
            return Response { status: 200, kind: "text/html; charset=utf-8", body };
        }
        let body = metrics::write(snapshot).into_bytes();
        Response { status: 200, kind: "text/plain; version=0.0.4; charset=utf-8", body }
    }
}

impl Connection {
    /// What there is now; `None`: nothing new yet.
    fn read(&mut self) -> io::Result<Option<Parsed>> {
        let mut chunk = [0; 2048];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.received.extend_from_slice(&chunk[..n]);
                    match http::parse(&self.received) {
                        Parsed::Partial if self.received.len() < MAX_REQUEST => {}
                        parsed => return Ok(Some(parsed)),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether all is written.
    fn write(&mut self) -> io::Result<bool> {
        let Some((answer, sent)) = &mut self.answer else { return Ok(false) };
        while *sent < answer.len() {
            match self.stream.write(&answer[*sent..]) {
                Ok(n) => *sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // What the peer has sent beyond its request would make the kernel reset the connection, and the answer might be lost.
        let mut rest = [0; 2048];
        for _ in 0..8 {
            if !matches!(self.stream.read(&mut rest), Ok(1..)) {
                break;
            }
        }
        self.stream.shutdown(std::net::Shutdown::Write)?;
        Ok(true)
    }
}
