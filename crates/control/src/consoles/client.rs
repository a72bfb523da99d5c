//! The other end of a console: what `causeway console` connects with.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use crate::tls::{Trust, plain_client};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a console. Does not block once it is made.
#[derive(Debug)]
pub enum Client {
    /// By the Unix socket.
    Unix(UnixStream),
    /// By TCP.
    Tcp(TcpStream),
    /// By TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Client {
    /// Connects to the appliance's socket.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.write_all(b"console telnet\n")?;
        stream.set_nonblocking(true)?;
        Ok(Self::Unix(stream))
    }

    /// Connects to `host:port`, with TLS if it is said whom to trust.
    ///
    /// # Errors
    /// Nobody listens there, or the certificate is another.
    pub fn tcp(target: &str, trust: Option<&Trust>) -> io::Result<Self> {
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for address in target.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return Self::connected(stream, target, trust),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connected(mut stream: TcpStream, target: &str, trust: Option<&Trust>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let Some(trust) = trust else {
            stream.set_nonblocking(true)?;
            return Ok(Self::Tcp(stream));
        };
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let config = plain_client(trust).map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        stream.set_nonblocking(true)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }
}

impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Client {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(octets),
            Self::Tcp(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.flush(),
            Self::Tcp(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.sock.as_fd(),
        }
    }
}
