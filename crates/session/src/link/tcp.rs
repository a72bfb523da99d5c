//! The path over the control connection (protocol 4.7): it carries records when UDP does not get through, and is kept warm while
//! UDP does.

use std::time::Duration;

use super::echo::Echoes;
use super::{ECHO_REPLY, ECHO_REQUEST};
use crate::status::{PathState, PathStatus};
use crate::{Now, Random};

/// How often the peer is asked for a sign of life while the path carries frames, and while it does not.
const ECHO_INTERVAL: Duration = Duration::from_millis(500);
const STANDBY_INTERVAL: Duration = Duration::from_secs(2);

/// A connection by which nothing has come for so long is dead, whatever TCP says.
const SILENT: Duration = Duration::from_secs(7);

/// One that carries frames, and by which nothing has come for so many times what both ends ask in, may be.
const STALLED: u32 = 2;

/// The path over the control connection.
#[derive(Debug, Default)]
pub(super) struct TcpPath {
    connected: bool,
    /// How often the peer is asked while it carries frames.
    interval: Duration,
    /// When something came by it, or it came to be.
    heard: Now,
    next_echo: Now,
    echoes: Echoes,
}

impl TcpPath {
    /// The connection has just opened the session.
    pub(super) fn new(now: Now, dead_peer: Duration) -> Self {
        Self::default().connected(now, dead_peer)
    }

    /// There is a new connection.
    pub(super) fn connected(self, now: Now, dead_peer: Duration) -> Self {
        let interval = ECHO_INTERVAL.min(dead_peer / 3);
        Self { connected: true, interval, heard: now, next_echo: now, echoes: self.echoes }
    }

    /// There is none any more. Returns whether there was.
    pub(super) fn disconnect(&mut self) -> bool {
        std::mem::replace(&mut self.connected, false)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn heard(&mut self, now: Now) {
        self.heard = self.heard.max(now);
    }

    /// Whether the connection is dead although nobody has closed it.
    pub(super) fn is_silent(&self, now: Now) -> bool {
        self.connected && now >= self.heard + SILENT
    }

    /// Whether nothing came by it for longer than it should while it carries frames, which it does since then.
    pub(super) fn is_stalled(&self, carries_since: Now, now: Now) -> bool {
        self.connected && now >= self.heard.max(carries_since) + self.interval * STALLED
    }

    /// A block came by it. Returns what is to be answered.
    pub(super) fn block(&mut self, kind: u8, rest: &[u8], now: Now) -> Option<Vec<u8>> {
        self.heard(now);
        let token = rest.first_chunk()?;
        match kind {
            ECHO_REQUEST => Some([&[ECHO_REPLY], rest].concat()),
            ECHO_REPLY => {
                self.echoes.reply(now, token);
                None
            }
            _ => None,
        }
    }

    /// Asks for a sign of life now.
    pub(super) fn ask(&mut self, now: Now, carries: bool, random: &mut dyn Random) -> Option<Vec<u8>> {
        self.next_echo = now + if carries { self.interval } else { STANDBY_INTERVAL };
        self.connected.then(|| self.echoes.request(now, true, random))
    }

    /// What is to be asked now, if it is time.
    pub(super) fn handle_timeout(
        &mut self,
        now: Now,
        carries: bool,
        random: &mut dyn Random,
    ) -> Option<Vec<u8>> {
        if now >= self.next_echo { self.ask(now, carries, random) } else { None }
    }

    /// From now on it carries frames, or does not: the peer is asked sooner.
    pub(super) fn hurry(&mut self, now: Now) {
        self.next_echo = self.next_echo.min(now);
    }

    /// When [`TcpPath::handle_timeout`] is due, or the connection may be silent.
    pub(super) fn deadline(&self) -> Now {
        if self.connected { self.next_echo.min(self.heard + SILENT) } else { Now::MAX }
    }

    /// What the console shows.
    pub(super) fn status(&self, carries: bool) -> PathStatus {
        PathStatus {
            tcp: true,
            way: None,
            state: match (self.connected, carries) {
                (false, _) => PathState::Down,
                (true, true) => PathState::Up,
                (true, false) => PathState::Standby,
            },
            round_trip: self.echoes.round_trip(),
            loss: self.echoes.loss(),
            mtu: None,
        }
    }
}
