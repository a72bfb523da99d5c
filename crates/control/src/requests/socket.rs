//! The Unix socket: one line with the words in; one line of JSON out, or several, or octets, as the command has it. Then it closes. The line
//! `console` makes a console of the connection.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::event::Event;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::Value;
use session::Now;

use super::reply::line;
use super::{Asked, Piece, Request, Role, Who, looks};
use crate::consoles::NewConsole;

/// Longest request. The file's mode says who may use that much of our memory.
const MAX_REQUEST: usize = 256 << 10;

/// Most who wait for an answer or read a stream at one time.
const MAX_CLIENTS: usize = 64;

/// A client of ours sends its line at once and reads at once; who does neither for so long is let go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Octets that are taken out of an answer at one time.
const CHUNK: usize = 64 << 10;

/// The socket with all who are connected; removed when dropped.
#[derive(Debug)]
pub(crate) struct RequestSocket {
    listener: UnixListener,
    path: PathBuf,
    clients: HashMap<usize, Client>,
    next: usize,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    who: Who,
    input: Vec<u8>,
    /// What it asks, once the line is here.
    asked: Option<Asked>,
    /// What of it is being written, and how far that is.
    out: Vec<u8>,
    written: usize,
    writable: bool,
    /// When it last did something.
    moved: Now,
    gone: bool,
}

/// What a line wants.
enum Wanted {
    Request(Request),
    /// To go on as a console, which may offer the telnet options.
    Console(bool),
}

impl RequestSocket {
    /// Tokens of this socket: so many from the first on, which is the listener's.
    pub(crate) const TOKENS: std::ops::Range<usize> = 1 << 48..2 << 48;

    /// Listens at `path`, for the owner and group only. Takes the place of a socket that nobody answers on, as a killed
    /// appliance leaves it.
    pub(crate) fn bind(path: &Path, registry: &Registry) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(ErrorKind::AddrInUse, "another appliance runs with this socket"));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        registry.register(&mut listener, Token(Self::TOKENS.start), Interest::READABLE)?;
        Ok(Self { listener, path: path.into(), clients: HashMap::new(), next: 0 })
    }

    /// Takes newcomers and what was sent, and returns what is asked, and who wants to be a console.
    pub(crate) fn requests(
        &mut self,
        registry: &Registry,
        events: &[Event],
        now: Now,
    ) -> (Vec<Request>, Vec<NewConsole>) {
        self.accept(registry, now);
        let (mut requests, mut consoles) = (Vec::new(), Vec::new());
        for event in events {
            let Some(client) = self.clients.get_mut(&event.token().0) else { continue };
            // Who only closes the direction towards us still reads.
            client.gone |= event.is_write_closed() || event.is_error();
            client.writable |= event.is_writable();
            if event.is_readable() && client.asked.is_none() {
                match client.read(now) {
                    Some(Wanted::Request(request)) => requests.push(request),
                    Some(Wanted::Console(telnet)) => {
                        let Some(client) = self.clients.remove(&event.token().0) else { continue };
                        let Client { stream, who, input: typed, .. } = client;
                        consoles.push(NewConsole { stream, who, telnet, typed });
                    }
                    None => {}
                }
            }
        }
        (requests, consoles)
    }

    /// Writes what there is to write, and lets go who is done.
    pub(crate) fn flush(&mut self, now: Now) {
        for client in self.clients.values_mut() {
            client.write(now);
        }
        self.clients.retain(|_, client| !client.is_done(now));
    }

    fn accept(&mut self, registry: &Registry, now: Now) {
        // Edge-triggered: what is not accepted now is looked for in each round.
        while self.clients.len() < MAX_CLIENTS {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a request");
                    return;
                }
            };
            self.next += 1;
            let token = Self::TOKENS.start + self.next % (Self::TOKENS.len() - 1) + 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if registry.register(&mut stream, Token(token), interest).is_ok() {
                self.clients.insert(token, Client::new(stream, now));
            }
        }
    }
}

impl Drop for RequestSocket {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Client {
    fn new(stream: UnixStream, now: Now) -> Self {
        let user = match getsockopt(&stream, PeerCredentials) {
            Ok(credentials) => format!("uid {}", credentials.uid()),
            Err(_) => "uid unknown".into(),
        };
        Self {
            stream,
            // Who may open the file is an admin.
            who: Who { user, from: "local".into(), role: Role::Admin },
            input: Vec::new(),
            asked: None,
            out: Vec::new(),
            written: 0,
            writable: true,
            moved: now,
            gone: false,
        }
    }

    fn read(&mut self, now: Now) -> Option<Wanted> {
        let mut chunk = [0; 4096];
        let ended = loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break true,
                Ok(n) => {
                    self.moved = now;
                    self.input.extend_from_slice(&chunk[..n]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(_) => {
                    self.gone = true;
                    return None;
                }
            }
            if self.input.contains(&b'\n') || self.input.len() > MAX_REQUEST {
                break false;
            }
        };
        let line_end = self.input.iter().position(|octet| *octet == b'\n');
        if line_end.is_none() && !ended && self.input.len() <= MAX_REQUEST {
            return None;
        }
        if ended && self.input.is_empty() {
            self.gone = true;
            return None;
        }
        let mut input = std::mem::take(&mut self.input);
        let console = line_end.filter(|end| matches!(&input[..*end], b"console" | b"console telnet"));
        if let Some(end) = console {
            self.input = input.split_off(end + 1);
            return Some(Wanted::Console(end > b"console".len()));
        }
        let ask = |line: String| {
            let way = (!looks(&line)).then_some("request");
            Asked::new(self.who.clone(), line, way)
        };
        if line_end.unwrap_or(input.len()) > MAX_REQUEST {
            let (asked, request) = ask("(too long)".into());
            self.asked = Some(asked);
            request.reply.answer(Err("the request is too long".into()));
            return None;
        }
        input.truncate(line_end.unwrap_or(input.len()));
        let (asked, request) = ask(String::from_utf8_lossy(&input).trim().to_owned());
        self.asked = Some(asked);
        Some(Wanted::Request(request))
    }

    fn write(&mut self, now: Now) {
        while self.writable && !self.gone {
            if self.written == self.out.len() && !self.fill(now) {
                return;
            }
            match self.stream.write(&self.out[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    self.moved = now;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(_) => self.gone = true,
            }
        }
    }

    /// Takes what is to be written next out of the answer. False: there is nothing.
    fn fill(&mut self, now: Now) -> bool {
        self.out.clear();
        self.written = 0;
        let Some(asked) = &mut self.asked else { return false };
        while let Some(piece) = asked.take() {
            match piece {
                Piece::Answer(answer) => self.out.extend_from_slice(line(&answer).as_bytes()),
                Piece::Line(value) => self.out.extend_from_slice(line(&Ok(value)).as_bytes()),
                Piece::Octets(octets) => self.out.extend_from_slice(&octets),
            }
            if self.out.len() >= CHUNK {
                break;
            }
        }
        if !self.out.is_empty() {
            self.moved = now;
        }
        !self.out.is_empty()
    }

    fn is_done(&self, now: Now) -> bool {
        let all_written = self.written == self.out.len();
        let ended = self.asked.as_ref().is_some_and(Asked::has_ended);
        // Who waits for an answer that takes its time is not idle; who does not take what there is, is.
        let waits_for_us = self.asked.is_some() && all_written;
        self.gone || (ended && all_written) || (!waits_for_us && now >= self.moved + PATIENCE)
    }
}

/// Asks the appliance at `path`.
///
/// # Errors
/// Nobody listens there, or the answer does not come or is no JSON.
pub fn ask(path: &Path, words: &str) -> io::Result<Value> {
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    writeln!(stream, "{words}")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    serde_json::from_str(&reply).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::os::unix::net::UnixStream as Plain;

    use mio::{Events, Poll};
    use serde_json::json;

    use super::*;
    use crate::requests::Reply;

    struct Served {
        poll: Poll,
        socket: RequestSocket,
        now: Now,
    }

    impl Served {
        fn new(name: &str) -> Self {
            let poll = Poll::new().expect("a poll");
            let path = std::env::temp_dir().join(format!("causeway-{}-{name}.sock", std::process::id()));
            let socket = RequestSocket::bind(&path, poll.registry()).expect("binds");
            Self { poll, socket, now: Now::from_secs(1) }
        }

        fn connect(&self, line: &str) -> Plain {
            let mut stream = Plain::connect(&self.socket.path).expect("connects");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
            stream.write_all(line.as_bytes()).expect("sent");
            stream
        }

        fn round(&mut self) -> Vec<Request> {
            let mut events = Events::with_capacity(16);
            self.poll.poll(&mut events, Some(Duration::from_millis(1))).expect("polls");
            let events: Vec<Event> = events.iter().cloned().collect();
            let (requests, _) = self.socket.requests(self.poll.registry(), &events, self.now);
            self.socket.flush(self.now);
            requests
        }

        fn request(&mut self) -> Reply {
            for _ in 0..1000 {
                if let Some(request) = self.round().pop() {
                    return request.reply;
                }
            }
            panic!("no request came");
        }
    }

    #[test]
    fn answers_come_at_once_later_and_in_lines() {
        let mut served = Served::new("answers");
        let mut later = served.connect("ping x\n");
        let late = served.request();
        let mut once = served.connect("show ports\n");
        served.request().answer(Ok(json!({ "a": 1 })));
        served.round();
        let mut text = String::new();
        once.read_to_string(&mut text).expect("an answer");
        assert_eq!(text, "{\"a\":1}\n");

        let lines = served.connect("test x\n");
        let mut stream = served.request().stream();
        stream.line(json!("one"));
        served.round();
        let mut lines = io::BufReader::new(lines);
        let mut text = String::new();
        lines.read_line(&mut text).expect("a line");
        assert_eq!(text, "\"one\"\n", "comes before the end");
        stream.finish(Err("stopped".into()));
        served.round();
        lines.read_to_string(&mut text).expect("the rest");
        assert_eq!(text, "\"one\"\n{\"error\":\"stopped\"}\n");

        served.now += PATIENCE;
        served.round();
        late.answer(Ok(json!(2)));
        served.round();
        let mut text = String::new();
        later.read_to_string(&mut text).expect("an answer, however late");
        assert_eq!(text, "2\n");
        assert!(served.socket.clients.is_empty());
    }

    #[test]
    fn who_says_nothing_or_takes_nothing_is_let_go() {
        let mut served = Served::new("patience");
        let _silent = served.connect("");
        let _endless = served.connect("no newline");
        let _deaf = served.connect("capture\n");
        let mut stream = served.request().stream();
        let mut pushed = 0_usize;
        while stream.octets(vec![0; CHUNK]) && pushed < 1000 {
            served.round();
            pushed += 1;
        }
        assert!(stream.lost() == 1 && pushed < 1000, "what is not taken is bounded");
        assert_eq!(served.socket.clients.len(), 3);
        served.now += PATIENCE;
        served.round();
        assert!(served.socket.clients.is_empty() && stream.is_gone());
    }

    #[test]
    fn too_many_wait_outside_and_too_much_is_refused() {
        let mut served = Served::new("limits");
        let clients: Vec<_> = (0..MAX_CLIENTS + 5).map(|_| served.connect("")).collect();
        for _ in 0..50 {
            served.round();
        }
        assert_eq!(served.socket.clients.len(), MAX_CLIENTS);
        drop(clients);
        for _ in 0..50 {
            served.round();
        }
        assert!(served.socket.clients.is_empty(), "who has gone makes room");
        let path = served.socket.path.clone();
        let huge = std::thread::spawn(move || {
            let mut stream = Plain::connect(path).expect("connects");
            // Nobody has to take the rest.
            let _ = stream.write_all(&vec![b'x'; 2 * MAX_REQUEST]);
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            text
        });
        while !huge.is_finished() {
            assert!(served.round().is_empty());
        }
        let text = huge.join().expect("ends");
        assert!(text.is_empty() || text.contains("too long"), "{text}");
    }
}
