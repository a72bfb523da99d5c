//! One connection that is passed on: octets from the client to the service and back, as they come.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::route::Place;

/// Octets that wait in each direction for a side that does not take them.
const BUFFER: usize = 16 * 1024;

/// Reads and writes of one direction at a time, so that one busy connection does not delay the others.
const STEPS: usize = 32;

/// Time that a side has at least to take what waits for it.
const SLOW: Duration = Duration::from_secs(60);

/// A connection that is passed on.
pub(super) struct Relay {
    pub(super) client: TcpStream,
    pub(super) service: TcpStream,
    up: Way,
    down: Way,
    /// Whether the service has taken the connection.
    pub(super) connected: bool,
    /// When an octet passed last.
    pub(super) active: Instant,
    /// Holds its place among those of its service.
    pub(super) place: Place,
}

/// One direction.
struct Way {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Nothing more comes.
    ended: bool,
    /// The other side knows.
    told: bool,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its sockets have to become ready first.
    Waits,
    /// There is more to do at once.
    Busy,
    /// Over.
    Done,
}

impl Relay {
    /// Joins both sides; `first` goes to the service before all that the client sends.
    pub(super) fn new(
        client: TcpStream,
        service: TcpStream,
        first: &[u8],
        place: Place,
        now: Instant,
    ) -> Self {
        let (up, down) = (Way::new(first), Way::new(&[]));
        Self { client, service, up, down, connected: false, active: now, place }
    }

    /// Whether it has to end by now: no octet passed for `idle`. A side that does not take what waits for it has longer. The kernel
    /// has megabytes for it, which a slow client takes without a word to us, and a client that stands still must not stay for ever.
    pub(super) fn late(&self, idle: Duration, now: Instant) -> bool {
        let waits = self.connected && (self.up.waits() || self.down.waits());
        now >= self.active + if waits { idle.max(SLOW) } else { idle }
    }

    /// Moves what can be moved.
    pub(super) fn drive(&mut self, now: Instant) -> io::Result<State> {
        if !self.connected {
            if let Some(error) = self.service.take_error()? {
                return Err(error);
            }
            match self.service.peer_addr() {
                Ok(_) => self.connected = true,
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(State::Waits),
                Err(error) => return Err(error),
            }
            // It waits for nothing but what the client's own segments are.
            let _ = self.service.set_nodelay(true);
            let _ = self.client.set_nodelay(true);
        }
        let up = self.up.drive(&mut self.client, &mut self.service)?;
        let down = self.down.drive(&mut self.service, &mut self.client)?;
        if up.moved || down.moved {
            self.active = now;
        }
        Ok(match (self.up.told && self.down.told, up.more || down.more) {
            (true, _) => State::Done,
            (false, true) => State::Busy,
            (false, false) => State::Waits,
        })
    }
}

/// What one call did.
struct Moved {
    moved: bool,
    more: bool,
}

/// A socket of which one direction can be closed.
trait Side: Read + Write {
    fn end(&self) -> io::Result<()>;
}

impl Side for TcpStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Way {
    fn new(first: &[u8]) -> Self {
        let mut buffer = vec![0; BUFFER].into_boxed_slice();
        buffer[..first.len()].copy_from_slice(first);
        Self { buffer, start: 0, end: first.len(), ended: false, told: false }
    }

    /// Whether octets wait for the side that takes them.
    fn waits(&self) -> bool {
        self.start < self.end
    }

    fn drive(&mut self, from: &mut impl Side, to: &mut impl Side) -> io::Result<Moved> {
        let mut moved = false;
        for _ in 0..STEPS {
            let step = if self.waits() {
                to.write(&self.buffer[self.start..self.end]).map(|count| self.start += count)
            } else if !self.ended {
                from.read(&mut self.buffer).map(|count| {
                    (self.start, self.end) = (0, count);
                    self.ended = count == 0;
                })
            } else {
                if !self.told {
                    self.told = true;
                    // It may have closed by itself.
                    let _ = to.end();
                }
                return Ok(Moved { moved, more: false });
            };
            match step {
                Ok(()) => moved = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Moved { moved, more: false });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Moved { moved, more: true })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Gives and takes a few octets, then none for once.
    #[derive(Default)]
    struct Fake {
        gives: Vec<u8>,
        at: usize,
        took: Vec<u8>,
        turn: usize,
        ended: Cell<bool>,
    }

    impl Fake {
        fn next(&mut self) -> io::Result<usize> {
            self.turn += 1;
            if self.turn.is_multiple_of(3) {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(1 + 997 * (self.turn % 5))
            }
        }
    }

    impl Read for Fake {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.next()?.min(out.len()).min(self.gives.len() - self.at);
            out[..count].copy_from_slice(&self.gives[self.at..self.at + count]);
            self.at += count;
            Ok(count)
        }
    }

    impl Write for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.next()?.min(bytes.len());
            self.took.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Side for Fake {
        fn end(&self) -> io::Result<()> {
            self.ended.set(true);
            Ok(())
        }
    }

    #[test]
    fn every_octet_passes_once_and_the_end_is_told_behind_them() {
        let gives: Vec<u8> = (0..100_000_u32).map(|at| (at * 7 % 251) as u8).collect();
        let (mut from, mut to) = (Fake { gives: gives.clone(), ..Fake::default() }, Fake::default());
        let mut way = Way::new(b"PROXY");
        for _ in 0..10_000 {
            way.drive(&mut from, &mut to).expect("no error");
            assert!(!to.ended.get() || way.told);
        }
        assert!(way.told && to.ended.get());
        assert_eq!(to.took, [&b"PROXY"[..], &gives].concat());
    }
}
