//! The data channel of one session as the control side sees it: is the peer alive, where is it, which
//! lanes are open (protocol 2.4, 4.3, 4.4). The same for client and server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bridge::SessionIndex;
use record::LaneId;

use crate::epoch::LaneIds;
use crate::{Now, Output, Random};

/// How long the lanes of the epoch before are received on.
const OVERLAP: Duration = Duration::from_secs(5);

/// At most one address challenge in this time.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(100);

const ECHO_REQUEST: u8 = 1;
const ECHO_REPLY: u8 = 2;
const TOKEN: usize = 8;

type Token = [u8; TOKEN];

/// One session's data channel.
#[derive(Debug)]
pub(crate) struct Link {
    session: SessionIndex,
    dead_peer: Duration,
    /// The lanes of the present epoch that we receive on.
    rx: Vec<LaneId>,
    /// Those of epochs before, and until when.
    retiring: Vec<(Vec<LaneId>, Now)>,
    pub(crate) since: Now,
    heard: Now,
    next_echo: Now,
    echo: Option<(Token, Now)>,
    pub(crate) round_trip: Option<Duration>,
    challenge: Option<(Token, SocketAddr)>,
    challenged: Option<Now>,
    /// The peer's address, proven.
    pub(crate) peer: Option<SocketAddr>,
}

impl Link {
    /// A session that comes up now and receives on `rx`.
    pub(crate) fn new(session: SessionIndex, dead_peer: Duration, rx: Vec<LaneId>, now: Now) -> Self {
        Self {
            session,
            dead_peer,
            rx,
            retiring: Vec::new(),
            since: now,
            heard: now,
            next_echo: now,
            echo: None,
            round_trip: None,
            challenge: None,
            challenged: None,
            peer: None,
        }
    }

    /// A new epoch takes the place of the present one.
    pub(crate) fn renew(&mut self, rx: Vec<LaneId>, now: Now) {
        let old = std::mem::replace(&mut self.rx, rx);
        self.retiring.push((old, now + OVERLAP));
        self.next_echo = now;
    }

    /// An authentic record arrived.
    pub(crate) fn heard(&mut self, now: Now) {
        self.heard = self.heard.max(now);
    }

    /// Whether an authentic record arrived within `time`.
    pub(crate) fn heard_within(&self, time: Duration, now: Now) -> bool {
        now.saturating_sub(self.heard) <= time
    }

    /// When an authentic record arrived last.
    pub(crate) fn last_heard(&self) -> Now {
        self.heard
    }

    /// A block with tunnel ID 0 arrived in an authentic record from `from`.
    pub(crate) fn control_block(
        &mut self,
        now: Now,
        from: SocketAddr,
        block: &[u8],
        out: &mut VecDeque<Output>,
    ) {
        self.heard(now);
        let Some((kind, rest)) = block.split_first() else { return };
        match *kind {
            ECHO_REQUEST if rest.len() >= TOKEN => {
                let to = (self.peer != Some(from)).then_some(from);
                let reply = [&[ECHO_REPLY], rest].concat();
                out.push_back(Output::SendBlock(self.session, to, reply));
            }
            ECHO_REPLY => {
                let Some(token) = rest.first_chunk::<TOKEN>() else { return };
                if let Some((_, sent)) = self.echo.take_if(|(expected, _)| expected == token) {
                    self.round_trip = Some(now.saturating_sub(sent));
                }
                let proven =
                    |(expected, address): &mut (Token, SocketAddr)| expected == token && *address == from;
                if self.challenge.take_if(proven).is_some() {
                    self.peer = Some(from);
                    out.push_back(Output::Changed(self.session));
                }
            }
            _ => {}
        }
    }

    /// The newest record came from `from`, which is not the session's address: it has to prove itself.
    pub(crate) fn new_address(
        &mut self,
        now: Now,
        from: SocketAddr,
        random: &mut dyn Random,
        out: &mut VecDeque<Output>,
    ) {
        let too_soon = self.challenged.is_some_and(|last| now < last + CHALLENGE_INTERVAL);
        if self.peer == Some(from) || too_soon {
            return;
        }
        let token = token(random);
        self.challenge = Some((token, from));
        self.challenged = Some(now);
        out.push_back(Output::SendBlock(self.session, Some(from), echo_request(&token)));
    }

    /// Asks for a sign of life now, not only when the next is due.
    pub(crate) fn ask(&mut self, now: Now, random: &mut dyn Random, out: &mut VecDeque<Output>) {
        let token = token(random);
        self.echo = Some((token, now));
        self.next_echo = now + self.dead_peer / 3;
        out.push_back(Output::SendBlock(self.session, None, echo_request(&token)));
    }

    /// What is due. False: the peer is dead.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Now,
        random: &mut dyn Random,
        ids: &mut LaneIds,
        out: &mut VecDeque<Output>,
    ) -> bool {
        self.retiring.retain(|(lanes, until)| {
            if now >= *until {
                remove(lanes, ids, out);
            }
            now < *until
        });
        if now >= self.heard + self.dead_peer {
            return false;
        }
        if now >= self.next_echo {
            self.ask(now, random, out);
        }
        true
    }

    pub(crate) fn deadline(&self) -> Now {
        let retiring = self.retiring.iter().map(|(_, until)| *until).min();
        (self.heard + self.dead_peer).min(self.next_echo).min(retiring.unwrap_or(Now::MAX))
    }

    /// The session is over: forgets all its lanes.
    pub(crate) fn end(self, ids: &mut LaneIds, out: &mut VecDeque<Output>) {
        out.push_back(Output::RemoveTx(self.session));
        remove(&self.rx, ids, out);
        for (lanes, _) in &self.retiring {
            remove(lanes, ids, out);
        }
        out.push_back(Output::Changed(self.session));
    }
}

/// Receives no more on `lanes`.
pub(crate) fn remove(lanes: &[LaneId], ids: &mut LaneIds, out: &mut VecDeque<Output>) {
    for lane in lanes {
        ids.release(*lane);
        out.push_back(Output::RemoveRx(*lane));
    }
}

fn token(random: &mut dyn Random) -> Token {
    let mut token = [0; TOKEN];
    random.fill(&mut token);
    token
}

fn echo_request(token: &Token) -> Vec<u8> {
    [&[ECHO_REQUEST][..], token].concat()
}
