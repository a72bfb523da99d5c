//! A connection that finds no place: it is told why, and closed.

use std::io::ErrorKind;
use std::time::Duration;

use ::session::Now;

use super::io::Io;

/// How long the words may take, with the handshake of TLS before them.
const PATIENCE: Duration = Duration::from_secs(2);

/// One of them. It is looked at in every round, whatever happens.
#[derive(Debug)]
pub(super) struct Refusal {
    io: Io,
    text: Vec<u8>,
    written: usize,
    until: Now,
}

impl Refusal {
    pub(super) fn new(io: Io, text: String, now: Now) -> Self {
        Self { io, text: text.into_bytes(), written: 0, until: now + PATIENCE }
    }

    /// Goes on with it. False: it is over.
    pub(super) fn goes_on(&mut self, now: Now) -> bool {
        let over = now >= self.until || self.say();
        if over {
            self.io.close();
        }
        !over
    }

    /// Whether all is said, or cannot be.
    fn say(&mut self) -> bool {
        while self.written < self.text.len() {
            match self.io.write(&self.text[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
        self.io.flush().unwrap_or(true)
    }
}
