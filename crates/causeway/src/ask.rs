//! Asking a running appliance something that takes its time.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;
use console::words;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::Failure;

/// Which appliance.
#[derive(Args)]
pub(crate) struct Appliance {
    /// The appliance's socket.
    #[arg(long, default_value = crate::SOCKET)]
    pub(crate) socket: PathBuf,
}

/// Sends a request; what comes is to be read.
pub(crate) fn connect(socket: &Path, request: &str) -> Result<UnixStream, Failure> {
    let sent = UnixStream::connect(socket).and_then(|mut stream| {
        writeln!(stream, "{request}")?;
        Ok(stream)
    });
    sent.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => " (is the appliance running? see --socket)",
            _ => "",
        };
        Failure(format!("cannot ask the appliance at {}: {error}{hint}", socket.display()))
    })
}

/// An answer that is read as long as somebody reads what is printed of it: else reading fails as the printing would (`BrokenPipe`), and the
/// appliance, which sees the connection end, ends what it does for it.
pub(crate) struct Heard(pub(crate) UnixStream);

impl Read for Heard {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let out = io::stdout();
        let mut fds =
            [PollFd::new(self.0.as_fd(), PollFlags::POLLIN), PollFd::new(out.as_fd(), PollFlags::empty())];
        while let Err(error) = poll(&mut fds, PollTimeout::NONE) {
            if error != Errno::EINTR {
                return Err(error.into());
            }
        }
        if nobody_reads(&fds[1]) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.0.read(into)
    }
}

/// Whether the other end of an output is gone.
pub(crate) fn nobody_reads(out: &PollFd<'_>) -> bool {
    out.revents().is_some_and(|seen| seen.intersects(PollFlags::POLLERR | PollFlags::POLLHUP))
}

/// The one answer to a request, however long it takes.
pub(crate) fn ask(socket: &Path, request: &str) -> Result<Value, Failure> {
    let mut answer = String::new();
    Heard(connect(socket, request)?).read_to_string(&mut answer)?;
    let answer: Value = serde_json::from_str(&answer)?;
    match answer["error"].as_str() {
        Some(error) => Err(Failure(error.into())),
        None => Ok(answer),
    }
}

/// A request of words as they were given. The word behind one of `naming` is a name, and may have blanks; another that has some is several
/// words, as a filter in quotes.
pub(crate) fn request(first: &str, given: &[String], naming: &[&str]) -> String {
    let mut line = first.to_owned();
    let mut is_name = false;
    for word in given {
        line.push(' ');
        line += &if is_name { words::quote(word) } else { word.clone() };
        is_name = !is_name && naming.contains(&word.as_str());
    }
    line
}

/// A value for people.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_blanks_and_filters_their_words() {
        let given = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let capture = given(&["segment", "New York", "icmp and host 10.0.0.1", "or", "port", "80"]);
        let line = request("capture lines", &capture, &["port", "segment", "session"]);
        assert_eq!(line, r#"capture lines segment "New York" icmp and host 10.0.0.1 or port 80"#);
        let explain = given(&["segment", "segment", "from", "a \"b\""]);
        assert_eq!(
            request("explain", &explain, &["segment", "from"]),
            r#"explain segment segment from "a \"b\"""#
        );
    }
}
