//! The stream under a console: Unix, TCP, or TLS over TCP. Never blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::tls::{PemError, plain_server};

/// Octets that rustls keeps for a reader that does not read.
const TLS_BUFFER: usize = 64 << 10;

/// The settings of TLS for consoles.
#[derive(Clone, Debug)]
pub(crate) struct ConsoleTls(Arc<ServerConfig>);

impl ConsoleTls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// As those of the control channel.
    pub(crate) fn from_files(certificate: &Path, key: &Path) -> Result<Self, PemError> {
        plain_server(certificate, key).map(|config| Self(Arc::new(config)))
    }
}

/// A stream.
#[derive(Debug)]
pub(crate) enum Io {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Io {
    /// A TCP connection that was accepted, with TLS if there are settings for it.
    pub(crate) fn accepted(stream: TcpStream, tls: Option<&ConsoleTls>) -> io::Result<Self> {
        // Each key is answered by its echo.
        stream.set_nodelay(true)?;
        // An end that has gone without a word is noticed within two minutes, whatever it waits for.
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &60)?;
        setsockopt(&stream, sockopt::TcpKeepInterval, &10)?;
        setsockopt(&stream, sockopt::TcpKeepCount, &6)?;
        let Some(tls) = tls else { return Ok(Self::Tcp(stream)) };
        let mut connection = ServerConnection::new(Arc::clone(&tls.0)).map_err(io::Error::other)?;
        connection.set_buffer_limit(Some(TLS_BUFFER));
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// Registers the socket, or registers it under another token.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token, again: bool) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let source: &mut dyn mio::event::Source = match self {
            Self::Unix(stream) => stream,
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
        };
        if again {
            source.reregister(registry, token, interest)
        } else {
            source.register(registry, token, interest)
        }
    }

    /// Reads what there is.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }

    /// Writes what has room.
    pub(crate) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(octets),
            Self::Tcp(stream) => stream.write(octets),
            Self::Tls(stream) => match stream.write(octets) {
                Ok(0) => Err(ErrorKind::WouldBlock.into()),
                other => other,
            },
        }
    }

    /// Sends what TLS has kept. False: there is more.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Unix(_) | Self::Tcp(_) => Ok(true),
            Self::Tls(stream) => match stream.flush() {
                Ok(()) => Ok(!stream.conn.wants_write()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Says goodbye, as far as that goes without waiting.
    pub(crate) fn close(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            // The connection is dropped next, sent or not.
            let _ = stream.flush();
        }
    }
}
