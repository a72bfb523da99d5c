//! The thread that accepts connections and sends each where it belongs.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use session::network;

use super::header::header;
use super::hello::{First, MAX_HELLO, read};
use super::relay::{Relay, State};
use super::route::{Service, choose};
use crate::strangers::{Reason, Refused, Seldom};

/// Wakes the thread.
pub(super) const WAKER: Token = Token(usize::MAX - 1);
const LISTENER: Token = Token(usize::MAX);

/// Time that a client has for its ClientHello, and a service for taking a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections whose ClientHello is not complete: of all clients, and of one address.
const MAX_WAITING: usize = 1024;
const MAX_WAITING_OF_SOURCE: usize = 64;

/// Connections accepted in one round.
const ACCEPTS: usize = 64;

/// How often limits of time are looked at.
const TICK: Duration = Duration::from_millis(250);

/// The thread's state.
pub(super) struct Door<F> {
    poll: Poll,
    listener: TcpListener,
    changes: Receiver<Vec<Service>>,
    stop: Arc<AtomicBool>,
    refused: Arc<Refused>,
    /// Says when a connection that is not taken is to be told of: there were too many, or the system refused.
    full: Seldom<Instant>,
    failed: Seldom<Instant>,
    /// Takes a connection of ours.
    ours: F,
    services: Vec<Service>,
    /// By number; the client's socket has twice the number as its token, the service's one more.
    waiting: HashMap<usize, Waiting>,
    relays: HashMap<usize, Relay>,
    next: usize,
    /// Connections with more to do at once.
    busy: Vec<usize>,
    peeked: Box<[u8]>,
}

/// A connection whose ClientHello is not complete.
struct Waiting {
    stream: TcpStream,
    peer: SocketAddr,
    since: Instant,
}

impl<F: FnMut(TcpStream, SocketAddr)> Door<F> {
    pub(super) fn new(
        poll: Poll,
        mut listener: TcpListener,
        changes: Receiver<Vec<Service>>,
        stop: Arc<AtomicBool>,
        refused: Arc<Refused>,
        ours: F,
    ) -> io::Result<Self> {
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            changes,
            stop,
            refused,
            full: Seldom::default(),
            failed: Seldom::default(),
            ours,
            services: Vec::new(),
            waiting: HashMap::new(),
            relays: HashMap::new(),
            next: 0,
            busy: Vec::new(),
            peeked: vec![0; MAX_HELLO].into_boxed_slice(),
        })
    }

    /// Waits for the first services, then runs until it is told to stop.
    pub(super) fn run(mut self) {
        match self.changes.recv() {
            Ok(services) => self.services = services,
            Err(_) => return,
        }
        let mut events = Events::with_capacity(256);
        let (mut ticked, mut more) = (Instant::now(), true);
        while !self.stop.load(Ordering::Relaxed) {
            let quiet = self.waiting.is_empty() && self.relays.is_empty();
            let pause = match (more || !self.busy.is_empty(), quiet) {
                (true, _) => Some(Duration::ZERO),
                (false, true) => None,
                (false, false) => Some(TICK),
            };
            if let Err(error) = self.poll.poll(&mut events, pause) {
                if error.kind() != ErrorKind::Interrupted {
                    tracing::error!(%error, "the shared port is closed");
                    return;
                }
            }
            let now = Instant::now();
            if let Some(services) = self.changes.try_iter().last() {
                self.services = services;
                // Counted with its service; one that is gone has none.
                let services = &self.services;
                self.relays.retain(|_, relay| services.iter().any(|service| relay.place.is_of(service)));
            }
            // The listener is edge-triggered: what is not accepted now is looked for in the next round.
            more = self.accept(now);
            for number in std::mem::take(&mut self.busy) {
                self.relay(number, now);
            }
            for event in &events {
                if event.token() != LISTENER && event.token() != WAKER {
                    let number = event.token().0 / 2;
                    if self.waiting.contains_key(&number) {
                        self.look(number, now);
                    } else {
                        self.relay(number, now);
                    }
                }
            }
            if now >= ticked + TICK {
                ticked = now;
                self.tick(now);
            }
        }
    }

    /// Takes new connections. True: there may be more.
    fn accept(&mut self, now: Instant) -> bool {
        for _ in 0..ACCEPTS {
            let (mut stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => {
                    // Out of descriptors, most likely: they come back.
                    self.not_accepted(now, &error);
                    std::thread::sleep(Duration::from_millis(20));
                    return true;
                }
            };
            let source = network(peer.ip());
            let of_source = self.waiting.values().filter(|other| network(other.peer.ip()) == source).count();
            if self.waiting.len() >= MAX_WAITING || of_source >= MAX_WAITING_OF_SOURCE {
                self.refused.count(Reason::Door);
                if self.full.says(now) {
                    let unlogged = self.full.take_unsaid();
                    tracing::warn!(%peer, unlogged, "too many connections without a ClientHello: closed one");
                }
                continue;
            }
            let number = self.next;
            self.next += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(&mut stream, Token(2 * number), interest) {
                self.not_accepted(now, &error);
                continue;
            }
            self.waiting.insert(number, Waiting { stream, peer, since: now });
            self.look(number, now);
        }
        true
    }

    fn not_accepted(&mut self, now: Instant, error: &io::Error) {
        self.refused.count(Reason::Accept);
        if self.failed.says(now) {
            tracing::warn!(%error, unlogged = self.failed.take_unsaid(), "cannot accept a connection");
        }
    }

    /// Looks at what a client has sent so far, and leaves it where it is.
    fn look(&mut self, number: usize, now: Instant) {
        let Some(waiting) = self.waiting.get(&number) else { return };
        let first = match waiting.stream.peek(&mut self.peeked) {
            Ok(0) => {
                self.waiting.remove(&number);
                return;
            }
            Ok(count) => read(&self.peeked[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(_) => {
                self.waiting.remove(&number);
                return;
            }
        };
        let service = match &first {
            First::Incomplete => return,
            First::Other => None,
            First::Hello(hello) => choose(&self.services, hello),
        };
        let Some(Waiting { mut stream, peer, .. }) = self.waiting.remove(&number) else { return };
        match service {
            None => match self.poll.registry().deregister(&mut stream) {
                Ok(()) => (self.ours)(stream, peer),
                Err(error) => self.not_accepted(now, &error),
            },
            Some(at) => self.pass_on(number, stream, peer, at, now),
        }
    }

    /// Starts to pass a connection on.
    fn pass_on(&mut self, number: usize, client: TcpStream, peer: SocketAddr, at: usize, now: Instant) {
        let service = &mut self.services[at];
        let to = service.share.to;
        let Some(place) = service.place() else {
            if service.said.says(now) {
                tracing::warn!(%to, max_connections = service.share.max_connections, "too many connections are passed on: closed one");
            }
            return;
        };
        let first = match (service.share.proxy_protocol, client.local_addr()) {
            (Some(version), Ok(here)) => header(version, peer, here),
            _ => Vec::new(),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let connected = TcpStream::connect(to).and_then(|mut stream| {
            self.poll.registry().register(&mut stream, Token(2 * number + 1), interest)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => {
                self.relays.insert(number, Relay::new(client, stream, &first, place, now));
                self.relay(number, now);
            }
            Err(error) => {
                place.failed();
                if service.said.says(now) {
                    tracing::warn!(%to, %error, "cannot pass a connection on");
                }
            }
        }
    }

    /// Moves what can be moved on a connection.
    fn relay(&mut self, number: usize, now: Instant) {
        let Some(relay) = self.relays.get_mut(&number) else { return };
        match relay.drive(now) {
            Ok(State::Waits) => {}
            Ok(State::Busy) => self.busy.push(number),
            Ok(State::Done) => drop(self.relays.remove(&number)),
            Err(error) => {
                if let Some(relay) = self.relays.remove(&number).filter(|relay| !relay.connected) {
                    self.not_taken(&relay, &error.to_string(), now);
                }
            }
        }
    }

    /// A service did not take a connection.
    fn not_taken(&mut self, relay: &Relay, error: &str, now: Instant) {
        relay.place.failed();
        if let Some(service) = self.services.iter_mut().find(|service| relay.place.is_of(service)) {
            if service.said.says(now) {
                tracing::warn!(to = %service.share.to, error, "cannot pass a connection on");
            }
        }
    }

    /// Closes what has taken too long.
    fn tick(&mut self, now: Instant) {
        self.waiting.retain(|_, waiting| now < waiting.since + PATIENCE);
        let services = &self.services;
        let late = |relay: &Relay| {
            let service = services.iter().find(|service| relay.connected && relay.place.is_of(service));
            relay.late(service.map_or(PATIENCE, |service| service.share.idle), now)
        };
        let ended: Vec<usize> =
            self.relays.iter().filter(|(_, relay)| late(relay)).map(|(number, _)| *number).collect();
        for number in ended {
            if let Some(relay) = self.relays.remove(&number).filter(|relay| !relay.connected) {
                self.not_taken(&relay, "it does not answer", now);
            }
        }
    }
}
