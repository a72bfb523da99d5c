//! The Unix socket behind `causeway show`: one line with the words in, one line of JSON out.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// Longest request.
const MAX_REQUEST: usize = 256;

/// A client of ours sends its line at once and reads at once; who does not is let go.
const PATIENCE: Duration = Duration::from_millis(100);

/// The socket; removed when dropped.
pub(crate) struct ShowSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ShowSocket {
    /// Listens at `path`, for the owner and group only. Takes the place of a socket that nobody answers on, as a killed
    /// appliance leaves it.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(ErrorKind::AddrInUse, "another appliance runs with this socket"));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.into() })
    }

    /// Everybody who waits for an answer, with the words that were sent.
    pub(crate) fn requests(&self) -> Vec<(Request, String)> {
        let mut requests = Vec::new();
        while let Ok((stream, _)) = self.listener.accept() {
            match read(stream) {
                Ok(request) => requests.push(request),
                Err(error) => tracing::debug!(%error, "a request ended early"),
            }
        }
        requests
    }
}

impl Drop for ShowSocket {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Somebody who waits for an answer.
pub(crate) struct Request(UnixStream);

impl Request {
    /// Sends the answer. Who does not take it goes without.
    pub(crate) fn reply(mut self, answer: Result<Value, String>) {
        let mut line = answer.unwrap_or_else(|error| json!({ "error": error })).to_string();
        line.push('\n');
        if let Err(error) = self.0.write_all(line.as_bytes()) {
            tracing::debug!(%error, "an answer was not taken");
        }
    }
}

fn read(mut stream: UnixStream) -> io::Result<(Request, String)> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    while !request.contains(&b'\n') && request.len() < MAX_REQUEST {
        let mut chunk = [0; MAX_REQUEST];
        match stream.read(&mut chunk)? {
            0 => break,
            n => request.extend_from_slice(&chunk[..n]),
        }
    }
    let words = String::from_utf8_lossy(&request).trim().to_owned();
    Ok((Request(stream), words))
}

/// Asks the appliance at `path`.
///
/// # Errors
/// Nobody listens there, or the answer does not come or is no JSON.
pub fn ask(path: &Path, words: &str) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    writeln!(stream, "{words}")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    serde_json::from_str(&reply).map_err(io::Error::other)
}
