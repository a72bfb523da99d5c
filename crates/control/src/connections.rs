//! The TLS connections of the control channel: accepts, connects, drives them, and says what happened.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use config::{Mode, Servers, Share};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use serde_json::{Value, json};
use session::{Batch, ConnId, Dial, ExportFailed, Exporter, Now, Shown};

use crate::certificates::{Watch, client_tls, server_tls};
use crate::dial::{Dialed, Dialer};
use crate::share::SharedPort;
use crate::strangers::{Reason, Strangers};
use crate::tls::{ClientTls, Fingerprint, Material, PemError, ServerTls, TlsConn, TlsEvent};

const LISTENER: Token = Token(usize::MAX);
const WOKEN: Token = Token(usize::MAX - 1);

/// Tokens below this are connections; the others, but for these two, belong to whoever registered them.
const CONNECTIONS: usize = 1 << 48;

/// How long a connection has to close in order.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Connections accepted in one round, so that a flood does not keep the control thread from its other work.
const ACCEPTS_PER_ROUND: usize = 16;

/// What happened.
pub(crate) enum Happened {
    /// A TCP connection came in.
    Accepted(SocketAddr),
    /// The peer's certificate is good.
    Shown(Shown),
    /// TLS is up; a client's end knows the server's address, unless a proxy alone does.
    Connected(Option<IpAddr>, Fingerprint),
    /// Bytes came.
    Received(Vec<u8>),
    /// It is over.
    Closed(String),
}

/// All connections, and where they come from.
pub(crate) struct Connections {
    poll: Poll,
    /// Ends the wait.
    waker: Arc<Waker>,
    side: Side,
    conns: HashMap<ConnId, Entry>,
    /// A server numbers what it accepts; a client's numbers come from its state machine.
    next: u64,
    happened: Vec<(ConnId, Happened)>,
    /// Connections that may have more to read at once.
    busy: Vec<ConnId>,
    /// Connections whose batches are not sent.
    batches: Vec<ConnId>,
    /// Events of those who share the queue.
    others: Vec<Event>,
    watch: Watch,
    strangers: Strangers,
}

enum Side {
    Server { port: Port, tls: ServerTls },
    Client(Box<Dialer>),
}

/// A server's TCP port.
enum Port {
    /// All connections are ours.
    Own(TcpListener),
    /// Others have their share of it.
    Shared(SharedPort),
}

/// Settings of a changed configuration that have passed their checks, with what the system gave for them.
pub(crate) enum Prepared {
    /// TLS, who has a share of the port, and the thread that shares it, if it is new.
    Server(ServerTls, Vec<Share>, Option<SharedPort>),
    Client(Servers, ClientTls),
}

struct Entry {
    tls: TlsConn,
    server: Option<IpAddr>,
    /// Records that wait for room in the connection.
    batch: Batch,
    /// Told to close at this time.
    closing: Option<Now>,
}

/// The control channel cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A certificate, key or CA file.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The certificate that the appliance makes by itself.
    #[error("no certificate is configured, and none can be made: {0}")]
    Make(String),
    /// The server's TCP port.
    #[error("cannot listen on TCP {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The system's event queue.
    #[error("cannot wait for events: {0}")]
    Poll(#[from] io::Error),
}

impl Connections {
    pub(crate) fn new(mode: &Mode) -> Result<Self, SetupError> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WOKEN)?);
        let strangers = Strangers::default();
        let side = match mode {
            Mode::Server(server) => {
                let tls = server_tls(server)?;
                let mut listener = TcpListener::bind(server.listen)
                    .map_err(|error| SetupError::Listen(server.listen, error))?;
                poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
                let mut port = Port::Own(listener);
                let shared = port.prepare(&server.shares, &waker, &strangers)?;
                port.share(&server.shares, shared, poll.registry());
                Side::Server { port, tls }
            }
            Mode::Client(client) => {
                Side::Client(Box::new(Dialer::new(client.servers.clone(), client_tls(client)?)))
            }
        };
        Ok(Self {
            poll,
            waker,
            side,
            conns: HashMap::new(),
            next: 0,
            happened: Vec::new(),
            busy: Vec::new(),
            batches: Vec::new(),
            others: Vec::new(),
            watch: Watch::default(),
            strangers,
        })
    }

    /// Reads certificates and keys anew, and gets from the system what a changed configuration needs. Nothing changes yet.
    ///
    /// # Errors
    /// As [`Connections::new`].
    pub(crate) fn prepare(&self, mode: &Mode) -> Result<Prepared, SetupError> {
        Ok(match mode {
            Mode::Server(server) => {
                let shared = match &self.side {
                    Side::Server { port, .. } => {
                        port.prepare(&server.shares, &self.waker, &self.strangers)?
                    }
                    Side::Client(_) => None,
                };
                Prepared::Server(server_tls(server)?, server.shares.clone(), shared)
            }
            Mode::Client(client) => Prepared::Client(client.servers.clone(), client_tls(client)?),
        })
    }

    /// Puts what was prepared in force, for the connections that begin from now on.
    pub(crate) fn apply(&mut self, prepared: Prepared) {
        match (&mut self.side, prepared) {
            (Side::Server { port, tls }, Prepared::Server(new, shares, shared)) => {
                *tls = new;
                port.share(&shares, shared, self.poll.registry());
            }
            (Side::Client(dialer), Prepared::Client(servers, tls)) => dialer.change(servers, tls),
            // The mode of a running appliance does not change.
            _ => {}
        }
        self.watch.read_anew();
    }

    /// The services that share a server's port, for `causeway show`.
    pub(crate) fn shares(&self) -> Vec<Value> {
        let Side::Server { port: Port::Shared(port), .. } = &self.side else { return Vec::new() };
        let service = |(share, (open, all, failed)): (&Share, (usize, u64, u64))| {
            json!({
                "sni": share.sni,
                "alpn": share.alpn,
                "to": share.to.to_string(),
                "connections": open,
                "max_connections": share.max_connections,
                "passed_on": all,
                "failed": failed,
            })
        };
        port.services().map(service).collect()
    }

    /// Connections to a server's port that came to nothing, by why.
    pub(crate) fn refused(&self) -> Vec<(&'static str, u64)> {
        match self.side {
            Side::Server { .. } => self.strangers.refused.read(),
            Side::Client(_) => Vec::new(),
        }
    }

    /// What is against the certificate of a client now: it was good when it was shown.
    pub(crate) fn verify_client(&self, chain: &[Vec<u8>]) -> Result<(), String> {
        match &self.side {
            Side::Server { tls, .. } => tls.verify_client(chain),
            Side::Client(_) => Ok(()),
        }
    }

    /// What is against the certificate of a client's server now: it was good when the session began.
    pub(crate) fn verify_server(&self) -> Result<(), String> {
        match &self.side {
            Side::Server { .. } => Ok(()),
            Side::Client(dialer) => dialer.verify_again(),
        }
    }

    /// Whom the other ends have to have their certificates from and for which name, and which of these were taken back, in words
    /// that are others for others.
    pub(crate) fn trust(&self) -> impl PartialEq + use<> {
        match &self.side {
            Side::Server { tls, .. } => (tls.client_trust(), None),
            Side::Client(dialer) => (Some(dialer.tls().trust()), dialer.server_name()),
        }
    }

    /// What `show certificate` shows.
    pub(crate) fn certificates(&self) -> serde_json::Value {
        self.watch.json(self.material())
    }

    /// Logs what is wrong with the certificates, once a day and after they were read anew.
    pub(crate) fn warn_daily(&mut self, now: Now) {
        if self.watch.is_due(now) {
            let warnings = self.watch.warnings(self.material());
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        }
    }

    fn material(&self) -> &Material {
        match &self.side {
            Side::Server { tls, .. } => tls.material(),
            Side::Client(dialer) => dialer.tls().material(),
        }
    }

    /// Waits at most `time` for something to happen.
    pub(crate) fn wait(
        &mut self,
        time: Duration,
        now: impl Fn() -> Now,
    ) -> io::Result<Vec<(ConnId, Happened)>> {
        let mut events = Events::with_capacity(64);
        let time = if self.busy.is_empty() { time } else { Duration::ZERO };
        match self.poll.poll(&mut events, Some(time)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        // The listener is edge-triggered: what is not accepted now is looked for in each round.
        self.accept(now());
        for id in std::mem::take(&mut self.busy) {
            self.drive(id, now());
        }
        for event in &events {
            match event.token() {
                LISTENER | WOKEN => {}
                Token(conn) if conn < CONNECTIONS => self.drive(ConnId(conn as u64), now()),
                _ => self.others.push(event.clone()),
            }
        }
        let now = now();
        if let Side::Client(dialer) = &mut self.side {
            for (id, dialed) in dialer.tick(self.poll.registry(), now) {
                self.dialed(id, dialed);
            }
        }
        self.conns.retain(|_, entry| entry.closing.is_none_or(|since| now < since + CLOSING_TIME));
        Ok(std::mem::take(&mut self.happened))
    }

    /// Where others register what wakes the control thread, under tokens from 2^48 on.
    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// What happened to what others registered, since this was asked last.
    pub(crate) fn take_others(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.others)
    }

    /// Starts a client's connection, by a certain Linux interface if one is given.
    pub(crate) fn connect(&mut self, dial: Dial, interface: Option<String>, now: Now) {
        let Side::Client(dialer) = &mut self.side else { return };
        if let Err(reason) = dialer.dial(dial.conn, dial.redirect, interface, now) {
            self.happened.push((dial.conn, Happened::Closed(reason)));
        }
    }

    /// The login on a client's connection has succeeded.
    pub(crate) fn logged_in(&mut self, id: ConnId) {
        if let Side::Client(dialer) = &mut self.side {
            let shown = self.conns.get(&id).map(|entry| entry.tls.peer_chain());
            dialer.logged_in(id, shown.unwrap_or_default());
        }
    }

    /// Sends bytes inside a connection.
    pub(crate) fn send(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(entry) = self.conns.get_mut(&id) {
            if let Err(error) = entry.tls.send(bytes) {
                self.drop_now(id);
                self.happened.push((id, Happened::Closed(error.to_string())));
            }
        }
    }

    /// Adds a record to those that go over a connection. False: it takes no more at present.
    pub(crate) fn add_record(&mut self, id: ConnId, record: &[u8]) -> bool {
        let Some(entry) = self.conns.get_mut(&id) else { return false };
        if entry.batch.is_empty() {
            self.batches.push(id);
        }
        if entry.batch.push(record) {
            return true;
        }
        self.send_batch(id);
        self.conns.get_mut(&id).is_some_and(|entry| entry.batch.push(record))
    }

    /// Sends the records that were added, as far as connections take them.
    pub(crate) fn send_batches(&mut self) {
        for id in std::mem::take(&mut self.batches) {
            self.send_batch(id);
            if self.conns.get(&id).is_some_and(|entry| !entry.batch.is_empty()) {
                self.batches.push(id);
            }
        }
    }

    /// Sends the records that were added for one connection, once what was sent before has left.
    fn send_batch(&mut self, id: ConnId) {
        let Some(entry) = self.conns.get_mut(&id) else { return };
        if !entry.batch.is_empty() && entry.tls.takes_more() {
            let message = entry.batch.take();
            self.send(id, &message);
        }
    }

    /// What wakes the control thread from another.
    pub(crate) fn wakes(&self) -> Box<dyn Fn() + Send + Sync> {
        let waker = Arc::clone(&self.waker);
        Box::new(move || {
            if let Err(error) = waker.wake() {
                tracing::warn!(%error, "cannot wake the control thread");
            }
        })
    }

    /// Closes a connection in order, without a word about it.
    pub(crate) fn close(&mut self, id: ConnId, now: Now) {
        if let Some(entry) = self.conns.get_mut(&id) {
            entry.tls.close();
            entry.closing = Some(now);
        }
        self.ended(id);
    }

    /// Drops a connection that there is no room for.
    pub(crate) fn refuse(&mut self, now: Now, id: ConnId, from: SocketAddr) {
        let text = format!("too many connections that have not logged in: refused one from {from}");
        self.strangers.note(now, Reason::HalfOpen, &text);
        self.drop_now(id);
    }

    /// A connection has ended before anybody logged in on it.
    pub(crate) fn not_logged_in(&mut self, now: Now, text: &str) {
        self.strangers.note(now, Reason::Login, text);
    }

    /// Drops a connection at once.
    pub(crate) fn drop_now(&mut self, id: ConnId) {
        self.conns.remove(&id);
        self.ended(id);
    }

    fn ended(&mut self, id: ConnId) {
        if let Side::Client(dialer) = &mut self.side {
            dialer.ended(id);
        }
    }

    /// When a server's certificate ends, in seconds since 1970.
    pub(crate) fn certificate_end(&self) -> Option<i64> {
        match &self.side {
            Side::Server { tls, .. } => Some(tls.not_after()),
            Side::Client { .. } => None,
        }
    }

    /// Whether connections are still closing.
    pub(crate) fn is_closing(&self) -> bool {
        !self.conns.is_empty()
    }

    /// The exporter of a connection.
    pub(crate) fn exporter(&self, id: ConnId) -> ConnExporter<'_> {
        ConnExporter(self.conns.get(&id).map(|entry| &entry.tls))
    }

    fn accept(&mut self, now: Now) {
        let Side::Server { port, tls } = &self.side else { return };
        for _ in 0..ACCEPTS_PER_ROUND {
            let (stream, peer) = match port.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    let text = format!("cannot accept a connection: {error}");
                    return self.strangers.note(now, Reason::Accept, &text);
                }
            };
            let id = ConnId(self.next);
            self.next += 1;
            let mut conn = TlsConn::server(stream, tls);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(conn.socket(), Token(id.0 as usize), interest).is_ok() {
                self.conns
                    .insert(id, Entry { tls: conn, server: None, batch: Batch::default(), closing: None });
                self.happened.push((id, Happened::Accepted(peer)));
            } else {
                self.strangers.refused.count(Reason::Accept);
            }
        }
    }

    fn drive(&mut self, id: ConnId, now: Now) {
        if let Some(entry) = self.conns.get_mut(&id) {
            let mut events = Vec::new();
            // One that brings much does not keep the others waiting.
            if entry.tls.drive(&mut events) {
                self.busy.push(id);
            }
            self.tell(id, events);
        } else if let Side::Client(dialer) = &mut self.side {
            if let Some(dialed) = dialer.drive(id, self.poll.registry(), now) {
                self.dialed(id, dialed);
            }
        }
    }

    fn dialed(&mut self, id: ConnId, dialed: Dialed) {
        match dialed {
            Dialed::Up(tls, events, server) => {
                self.conns.insert(id, Entry { tls: *tls, server, batch: Batch::default(), closing: None });
                self.tell(id, events);
            }
            Dialed::Failed(reason) => self.happened.push((id, Happened::Closed(reason))),
        }
    }

    fn tell(&mut self, id: ConnId, mut events: Vec<TlsEvent>) {
        // A client is through with its handshake before the server has looked at its certificate: what that has against it counts.
        let is_over = events.iter().any(|event| matches!(event, TlsEvent::Closed { .. }));
        if is_over && events.iter().any(|event| matches!(event, TlsEvent::HandshakeDone { .. })) {
            events.retain(|event| matches!(event, TlsEvent::Closed { .. }));
        }
        for event in events {
            let Some(entry) = self.conns.get(&id) else { return };
            let (server, closing) = (entry.server, entry.closing.is_some());
            let happened = match event {
                TlsEvent::PeerCertificate(facts) => match &self.side {
                    Side::Server { .. } => {
                        Happened::Shown(Shown { names: facts.carried_names(), chain: entry.tls.peer_chain() })
                    }
                    Side::Client(_) => {
                        self.watch.shown = Some(facts);
                        continue;
                    }
                },
                TlsEvent::HandshakeDone { fingerprint } => Happened::Connected(server, fingerprint),
                TlsEvent::Data(bytes) => Happened::Received(bytes),
                TlsEvent::Closed { reason } => {
                    self.drop_now(id);
                    Happened::Closed(reason)
                }
            };
            if !closing {
                self.happened.push((id, happened));
            }
        }
    }
}

impl Port {
    /// The thread that is to share the port as `shares` say, if it is needed and not there yet. It does nothing before
    /// [`Port::share`].
    fn prepare(
        &self,
        shares: &[Share],
        waker: &Arc<Waker>,
        strangers: &Strangers,
    ) -> io::Result<Option<SharedPort>> {
        match self {
            Self::Own(listener) if !shares.is_empty() => {
                let refused = Arc::clone(&strangers.refused);
                SharedPort::prepare(listener, Arc::clone(waker), refused).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Shares the port as `shares` say. Once it is shared it stays so, even if nobody has a share of it any more: a listener that
    /// moves back could lose connections.
    fn share(&mut self, shares: &[Share], prepared: Option<SharedPort>, registry: &Registry) {
        if let (Self::Own(listener), Some(shared)) = (&mut *self, prepared) {
            // The thread listens on the same socket: at worst we are woken for nothing.
            if let Err(error) = registry.deregister(listener) {
                tracing::warn!(%error, "cannot leave the port to the thread that shares it");
            }
            *self = Self::Shared(shared);
        }
        if let Self::Shared(port) = self {
            port.change(shares);
        }
    }

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Self::Own(listener) => listener.accept(),
            Self::Shared(port) => port.accept().ok_or_else(|| io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// The TLS exporter of a connection, or of none.
pub(crate) struct ConnExporter<'a>(Option<&'a TlsConn>);

impl Exporter for ConnExporter<'_> {
    fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), ExportFailed> {
        let conn = self.0.ok_or(ExportFailed)?;
        conn.export_secret(label, Some(context), out).map_err(|_| ExportFailed)
    }
}
