//! One TLS connection on a non-blocking TCP socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use pki::Facts;
use rustls::server::{Accepted, Acceptor};
use rustls::{ClientConnection, Connection, ServerConfig};
use socket2::SockRef;

use super::reason::{Whose, describe};
use super::verify::server_name_of;
use super::{ALPN, ClientTls, Fingerprint, ServerTls, fingerprint};

/// Octets of application data that may wait for a peer that does not read. Four messages of the largest size
/// fit; a peer that lets more pile up is not reading at all.
const WRITE_LIMIT: usize = 256 * 1024;

/// Octets that the kernel may hold that were not sent yet.
const UNSENT: u32 = 64 * 1024;

/// Reads from the socket in one call of [`TlsConn::drive`], so that one busy peer does not keep the control
/// thread from its other work. Each takes at most one TLS record's length or so.
const READS_PER_DRIVE: usize = 32;

/// A fatal alert `no_application_protocol` (RFC 7301 3.2) in a plaintext record (RFC 8446 5.1), which is what is
/// sent before any keys exist. rustls raises it only for a client that offers other protocols, not for one that
/// offers none.
const ALERT_NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// What happened on a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum TlsEvent {
    /// The certificate that the peer showed and that was found good; comes right before `HandshakeDone`.
    PeerCertificate(Box<Facts>),
    /// Both ends have proved what TLS lets them prove, and speak `causeway/1`.
    HandshakeDone {
        /// The fingerprint of the server's certificate, the same on both ends.
        fingerprint: Fingerprint,
    },
    /// Application data, in order.
    Data(Vec<u8>),
    /// The connection is over; nothing follows. Drop it.
    Closed {
        /// Why, for the log.
        reason: String,
    },
}

/// Why [`TlsConn::send`] took nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    /// More than 256 KiB wait already.
    #[error("the peer does not read what is sent to it")]
    PeerTooSlow,
    /// The handshake is not done, or the connection is closing.
    #[error("the connection is not open")]
    NotOpen,
}

/// A TLS connection, client or server, and its socket.
///
/// Register [`socket`](Self::socket) for reading and writing and call [`drive`](Self::drive) whenever it
/// becomes either. It never blocks, and its memory is bounded: rustls holds at most one handshake message
/// (64 KiB) and the write limit.
pub struct TlsConn {
    stream: TcpStream,
    state: State,
}

enum State {
    /// Client: TCP is not connected yet.
    Connecting(Box<ClientConnection>),
    /// Server: the ClientHello is not complete yet.
    Hello { acceptor: Box<Acceptor>, server: ServerTls },
    /// The handshake or the exchange after it.
    Open { connection: Box<Connection>, fingerprint: Option<Fingerprint>, announced: bool },
    /// Told to close: flushes, and waits for the peer to close too, so that the kernel does not answer its last
    /// words with a reset that would take ours away.
    Closing(Box<Connection>),
    /// Over.
    Closed,
}

impl TlsConn {
    /// Starts a connection as client on a socket that is connecting or connected.
    ///
    /// # Errors
    /// `server_name` is neither a DNS name nor an IP address.
    pub fn client(stream: TcpStream, tls: &ClientTls, server_name: &str) -> Result<Self, String> {
        let name = server_name_of(server_name)?;
        let mut connection = ClientConnection::new(Arc::clone(&tls.config), name)
            .map_err(|error| describe(&error, Whose::Server))?;
        connection.set_buffer_limit(Some(WRITE_LIMIT));
        Ok(Self { stream, state: State::Connecting(Box::new(connection)) })
    }

    /// Starts a connection as server on a socket that was accepted.
    pub fn server(stream: TcpStream, tls: &ServerTls) -> Self {
        Self { stream, state: State::Hello { acceptor: Box::default(), server: tls.clone() } }
    }

    /// The socket, for registering with a poll.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Does what can be done now: connects, shakes hands, sends what waits, and adds to `events` what
    /// happened. Returns whether there may be more to read at once, without a new readiness of the socket.
    pub fn drive(&mut self, events: &mut Vec<TlsEvent>) -> bool {
        for _ in 0..READS_PER_DRIVE {
            match self.step(events) {
                Ok(Step::Again) => {}
                Ok(Step::Wait) => return false,
                Err(reason) => {
                    self.abandon();
                    events.push(TlsEvent::Closed { reason });
                    return false;
                }
            }
        }
        true
    }

    /// Sends `bytes`, as far as the socket takes them now; the rest follows from [`drive`](Self::drive).
    ///
    /// # Errors
    /// The connection is not open, or too much waits already; then close it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let State::Open { connection, announced: true, .. } = &mut self.state else {
            return Err(SendError::NotOpen);
        };
        // The writer fails only for a connection that failed before, which `drive` has told then.
        let taken = connection.writer().write(bytes).map_err(|_| SendError::NotOpen)?;
        if taken < bytes.len() {
            return Err(SendError::PeerTooSlow);
        }
        // A broken socket shows in `drive` as well: it stays readable.
        let _ = flush(connection, &mut self.stream);
        Ok(())
    }

    /// Whether it is open and everything that was sent has left for the kernel.
    pub fn takes_more(&self) -> bool {
        matches!(&self.state, State::Open { connection, announced: true, .. } if !connection.wants_write())
    }

    /// Ends the connection in order: what waits and a `close_notify` are sent, and [`TlsEvent::Closed`] comes when
    /// the peer has closed too. Give it a second or so, then drop it.
    pub fn close(&mut self) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open { mut connection, .. } => {
                connection.send_close_notify();
                self.state = State::Closing(connection);
                let _ = self.finish_writing();
            }
            State::Closing(connection) => self.state = State::Closing(connection),
            State::Connecting(_) | State::Hello { .. } | State::Closed => self.abandon(),
        }
    }

    /// Derives a secret from the connection (RFC 8446 7.5).
    ///
    /// # Errors
    /// The handshake is not done.
    pub fn export_secret(
        &self,
        label: &[u8],
        context: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), rustls::Error> {
        match &self.state {
            State::Open { connection, .. } => {
                connection.export_keying_material(out, label, context).map(drop)
            }
            _ => Err(rustls::Error::HandshakeNotComplete),
        }
    }

    /// The certificates that the peer showed, its own first, in DER.
    pub fn peer_chain(&self) -> Vec<Vec<u8>> {
        let State::Open { connection, .. } = &self.state else { return Vec::new() };
        let chain = connection.peer_certificates().unwrap_or_default();
        chain.iter().map(|certificate| certificate.to_vec()).collect()
    }

    fn step(&mut self, events: &mut Vec<TlsEvent>) -> Result<Step, String> {
        match &mut self.state {
            State::Connecting(_) => self.connecting(),
            State::Hello { .. } => self.hello(),
            State::Open { .. } => self.open(events),
            State::Closing(_) => self.closing(),
            State::Closed => Ok(Step::Wait),
        }
    }

    /// Looks whether TCP is connected (mio's `TcpStream::connect` tells how).
    fn connecting(&mut self) -> Result<Step, String> {
        if let Ok(Some(error)) | Err(error) = self.stream.take_error() {
            return Err(format!("cannot connect: {error}"));
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(Step::Wait),
            Err(error) => return Err(format!("cannot connect: {error}")),
        }
        prepare(&self.stream);
        let State::Connecting(connection) = std::mem::replace(&mut self.state, State::Closed) else {
            return Ok(Step::Wait);
        };
        let connection = Box::new(Connection::from(*connection));
        self.state = State::Open { connection, fingerprint: None, announced: false };
        Ok(Step::Again)
    }

    /// Reads the ClientHello and refuses, before any costly signature, who does not ask for `causeway/1`.
    fn hello(&mut self) -> Result<Step, String> {
        let State::Hello { acceptor, server } = &mut self.state else { return Ok(Step::Wait) };
        match acceptor.read_tls(&mut self.stream) {
            Ok(0) => return Err("the peer closed the connection before its TLS ClientHello".into()),
            Ok(_) => {}
            Err(error) => return waiting_or(&error, "the TLS ClientHello"),
        }
        let accepted = match acceptor.accept() {
            Ok(None) => return Ok(Step::Again),
            Ok(Some(accepted)) => accepted,
            Err((error, mut alert)) => {
                let _ = alert.write(&mut self.stream);
                return Err(describe(&error, Whose::Client));
            }
        };
        if accepted.client_hello().alpn().is_none() {
            let _ = self.stream.write(&ALERT_NO_APPLICATION_PROTOCOL);
            return Err("the peer sent no ALPN, so it is no Causeway client (a browser or a scanner?)".into());
        }
        let fingerprint = Some(server.fingerprint());
        let connection = self::accept(accepted, &server.config, &mut self.stream)?;
        prepare(&self.stream);
        self.state = State::Open { connection, fingerprint, announced: false };
        Ok(Step::Again)
    }

    /// One read of the handshake or of application data, then whatever is to be written.
    fn open(&mut self, events: &mut Vec<TlsEvent>) -> Result<Step, String> {
        let State::Open { connection, fingerprint, announced } = &mut self.state else {
            return Ok(Step::Wait);
        };
        flush(connection, &mut self.stream).map_err(|error| lost(&error, *announced))?;
        match connection.read_tls(&mut self.stream) {
            Ok(0) if *announced => return Err("the peer closed the TCP connection".into()),
            Ok(0) => return Err("the peer closed the TCP connection during the TLS handshake".into()),
            Ok(_) => {}
            Err(error) => return waiting_or(&error, if *announced { "TLS" } else { "the TLS handshake" }),
        }
        let progress = match connection.process_new_packets() {
            Ok(progress) => progress,
            Err(error) => {
                // rustls has an alert ready for the peer.
                let _ = flush(connection, &mut self.stream);
                return Err(describe(&error, peer_of(connection)));
            }
        };
        flush(connection, &mut self.stream).map_err(|error| lost(&error, *announced))?;
        if !*announced && !connection.is_handshaking() {
            let fingerprint = check_handshake(connection, *fingerprint)?;
            *announced = true;
            let shown = connection.peer_certificates().and_then(|chain| chain.first());
            let facts = shown.and_then(|certificate| Facts::of(certificate).ok());
            events.extend(facts.map(|facts| TlsEvent::PeerCertificate(Box::new(facts))));
            events.push(TlsEvent::HandshakeDone { fingerprint });
        }
        if progress.plaintext_bytes_to_read() > 0 {
            let mut data = vec![0; progress.plaintext_bytes_to_read()];
            connection.reader().read_exact(&mut data).map_err(|error| lost(&error, *announced))?;
            events.push(TlsEvent::Data(data));
        }
        if progress.peer_has_closed() {
            return Err("the peer closed the TLS connection".into());
        }
        Ok(Step::Again)
    }

    /// Flushes, then throws away what still comes until the peer has closed.
    fn closing(&mut self) -> Result<Step, String> {
        let closed = |_| "closed".to_owned();
        self.finish_writing().map_err(closed)?;
        match self.stream.read(&mut [0; 4096]) {
            Ok(0) => Err("closed".into()),
            Ok(_) => Ok(Step::Again),
            Err(error) => waiting_or(&error, "closing").map_err(|_| "closed".into()),
        }
    }

    /// Writes the last octets and tells the peer that no more follow.
    fn finish_writing(&mut self) -> io::Result<()> {
        if let State::Closing(connection) = &mut self.state {
            flush(connection, &mut self.stream)?;
            if !connection.wants_write() {
                self.stream.shutdown(Shutdown::Write)?;
            }
        }
        Ok(())
    }

    fn abandon(&mut self) {
        self.state = State::Closed;
        // The peer may be gone; then there is nobody to tell.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// What the other end is.
fn peer_of(connection: &Connection) -> Whose {
    match connection {
        Connection::Client(_) => Whose::Server,
        Connection::Server(_) => Whose::Client,
    }
}

/// Sets what a connection needs of its socket; one that cannot works as well, if slower.
fn prepare(stream: &TcpStream) {
    // Login messages are small and each waits for its answer.
    let _ = stream.set_nodelay(true);
    // What the line does not take is to be noticed here, not to pile up in the kernel.
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}

enum Step {
    /// There may be more to do at once.
    Again,
    /// The socket has to become ready first.
    Wait,
}

fn accept(
    accepted: Accepted,
    config: &Arc<ServerConfig>,
    stream: &mut TcpStream,
) -> Result<Box<Connection>, String> {
    match accepted.into_connection(Arc::clone(config)) {
        Ok(mut connection) => {
            connection.set_buffer_limit(Some(WRITE_LIMIT));
            Ok(Box::new(Connection::from(connection)))
        }
        Err((error, mut alert)) => {
            let _ = alert.write(stream);
            Err(describe(&error, Whose::Client))
        }
    }
}

/// The handshake is done: both ends must have agreed on the protocol. Returns the server's fingerprint, `own` on
/// the server itself.
fn check_handshake(connection: &Connection, own: Option<Fingerprint>) -> Result<Fingerprint, String> {
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(
            "the peer did not agree on the protocol causeway/1 (ALPN): it is no Causeway server".into()
        );
    }
    own.or_else(|| connection.peer_certificates()?.first().map(|certificate| fingerprint(certificate)))
        .ok_or_else(|| "the server showed no certificate".into())
}

/// Writes what rustls has ready, until the socket takes no more.
fn flush(connection: &mut Connection, stream: &mut TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(stream) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn waiting_or(error: &io::Error, during: &str) -> Result<Step, String> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(Step::Wait),
        ErrorKind::Interrupted => Ok(Step::Again),
        _ => Err(format!("the TCP connection broke during {during}: {error}")),
    }
}

fn lost(error: &io::Error, announced: bool) -> String {
    let during = if announced { "" } else { " during the TLS handshake" };
    format!("the TCP connection broke{during}: {error}")
}
