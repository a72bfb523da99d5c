//! One address being tried: TCP, the proxy's answer if there is one, then TLS.

use std::io;
use std::net::SocketAddr;

use config::{HostPort, Proxy};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use session::{ConnId, Now};
use socket2::{Domain, Protocol, Socket, Type};

use super::connect::Connect;
use crate::tls::{ClientTls, TlsConn, TlsEvent};

/// One address being tried.
pub(super) struct Attempt {
    /// When it has taken too long.
    pub(super) until: Now,
    server_name: String,
    stage: Stage,
}

enum Stage {
    /// TCP to a proxy, and its answer.
    Proxy(TcpStream, Connect),
    /// TCP to the server, or nothing more if the proxy has answered, and TLS.
    Tls(Box<TlsConn>),
    /// Between two stages, or over.
    Over,
}

/// Where a connection goes.
pub(super) struct To<'a> {
    /// The server, or a proxy that is to connect us with it.
    pub(super) at: SocketAddr,
    /// The Linux interface to leave by.
    pub(super) interface: Option<&'a str>,
    pub(super) proxy: Option<(&'a Proxy, &'a HostPort)>,
}

/// What came of it so far.
pub(super) enum Progress {
    Waiting,
    /// TLS is up, with what else came.
    Up(Box<TlsConn>, Vec<TlsEvent>),
    Failed(String),
}

impl Attempt {
    /// Starts to connect.
    pub(super) fn start(
        id: ConnId,
        to: To<'_>,
        server_name: String,
        until: Now,
        tls: &ClientTls,
        registry: &Registry,
    ) -> Result<Self, String> {
        let mut stream = tcp(to.interface, to.at).map_err(|error| format!("cannot connect: {error}"))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(id.0 as usize), interest).map_err(|error| error.to_string())?;
        let stage = match to.proxy {
            Some((proxy, server)) => Stage::Proxy(stream, Connect::new(proxy, server)),
            None => Stage::Tls(Box::new(TlsConn::client(stream, tls, &server_name)?)),
        };
        Ok(Self { until, server_name, stage })
    }

    /// What it has not got yet.
    pub(super) fn waits_for(&self) -> &'static str {
        match &self.stage {
            Stage::Proxy(_, connect) if connect.is_asked() => "no answer from the proxy",
            Stage::Proxy(..) => "no connection with the proxy",
            Stage::Tls(_) | Stage::Over => "no answer",
        }
    }

    /// The socket is ready.
    pub(super) fn drive(&mut self, tls: &ClientTls, registry: &Registry) -> Progress {
        if let Stage::Proxy(stream, connect) = &mut self.stage {
            match connect.drive(stream) {
                Ok(false) => return Progress::Waiting,
                Ok(true) => {}
                Err(reason) => return Progress::Failed(reason),
            }
            let Stage::Proxy(stream, _) = std::mem::replace(&mut self.stage, Stage::Over) else {
                return Progress::Waiting;
            };
            match TlsConn::client(stream, tls, &self.server_name) {
                Ok(conn) => self.stage = Stage::Tls(Box::new(conn)),
                Err(reason) => return Progress::Failed(reason),
            }
        }
        let Stage::Tls(conn) = &mut self.stage else { return Progress::Waiting };
        let mut events = Vec::new();
        while conn.drive(&mut events) {}
        let Some(TlsEvent::Closed { reason }) = events.first() else {
            if events.is_empty() {
                return Progress::Waiting;
            }
            let Stage::Tls(conn) = std::mem::replace(&mut self.stage, Stage::Over) else {
                return Progress::Waiting;
            };
            return Progress::Up(conn, events);
        };
        let reason = reason.clone();
        // Its descriptor may be another's in a moment.
        let _ = registry.deregister(conn.socket());
        Progress::Failed(reason)
    }
}

/// A TCP connection that is being opened, by a certain Linux interface if one is given.
fn tcp(interface: Option<&str>, peer: SocketAddr) -> io::Result<TcpStream> {
    let Some(interface) = interface else { return TcpStream::connect(peer) };
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    match socket.connect(&peer.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
