//! Sites and their sessions as state machines without IO: bytes and `now` go in, bytes, lanes and deadlines
//! come out (protocol sections 2 to 4).
//!
//! [`Client`] is the one session of a spoke, [`Server`] all those of a hub. Whoever drives them owns sockets, TLS
//! and clocks: it calls the methods when something happens, then takes every [`Output`] from `poll_output`, and calls
//! `handle_timeout` at `deadline`. All names of the wire are in [`message`], the authentication in [`scram`].
#![forbid(unsafe_code)]

mod client;
mod epoch;
mod framing;
mod link;
pub mod message;
mod network;
pub mod question;
pub mod scram;
mod server;
mod status;
mod uplinks;

use std::time::Duration;

use bridge::SessionIndex;
use record::{LaneId, RxLane, TxLane};
use wire::way::Way;

use question::{Answer, Question};

pub use client::{Client, ClientParams};
pub use link::PeerBlock;
pub use message::{Batch, MAX_RECORD, Records, SegmentList};
pub use network::network;
pub use server::{Admission, Server, ServerParams, SiteParams};
pub use status::{Carrier, PathState, PathStatus, PathView, SessionView, SiteStatus, State};
pub use uplinks::{Uplink, Uplinks};

/// Time since some fixed moment, the same for all calls.
pub type Now = Duration;

/// Most lanes of one direction (protocol 2.2).
pub const MAX_LANES: usize = 64;

/// A source of numbers that cannot be guessed.
pub trait Random {
    /// Fills `out`.
    fn fill(&mut self, out: &mut [u8]);
}

/// The TLS exporter (RFC 8446 7.5) of one connection.
pub trait Exporter {
    /// Fills `out` for `label` and `context`. Fails only before the handshake is done.
    fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), ExportFailed>;
}

/// The TLS connection gives no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLS connection gives no keys")]
pub struct ExportFailed;

/// A TLS connection, numbered by whoever opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// The certificate that a client showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The names in it.
    pub names: Vec<String>,
    /// It and the others of its chain, in DER.
    pub chain: Vec<Vec<u8>>,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An ordinary event.
    Info,
    /// Something that an operator may have to mend.
    Warn,
}

/// What a state machine wants done.
#[derive(Debug)]
pub enum Output {
    /// Client: open a TLS connection, and report it under this number.
    Connect(Dial),
    /// Client: the login on this connection has succeeded.
    LoggedIn(ConnId),
    /// Send bytes inside a TLS connection.
    Send(ConnId, Vec<u8>),
    /// Records came in a TLS connection: to be opened as if they had come by UDP.
    Records(Records),
    /// End a TLS connection after what was to be sent. It is not reported.
    Close(ConnId),
    /// Receive on a lane of the peer, whose ID says which worker does, and report when it is so.
    InstallRx {
        /// Its session.
        session: SessionIndex,
        /// The path that its records come by.
        path: usize,
        /// Whether where its records come from is where the path's peer is.
        leads: bool,
        /// The lane.
        lane: Box<RxLane>,
    },
    /// Send on this lane from now on.
    InstallTx {
        /// Its session.
        session: SessionIndex,
        /// The path that its records take.
        path: usize,
        /// The worker whose lane it is.
        worker: usize,
        /// The lane.
        lane: Box<TxLane>,
    },
    /// Receive no more on a lane.
    RemoveRx(LaneId),
    /// Send no more in a session.
    RemoveTx(SessionIndex),
    /// Send a block with tunnel ID 0.
    SendBlock(OwnBlock),
    /// What [`SessionView`] says of the session has changed: up, down, address, or segments.
    Changed(SessionIndex),
    /// The other end asks something, to be answered by `answer`.
    Asked(SessionIndex, Question),
    /// The other end answers a question.
    Answered(SessionIndex, Answer),
    /// For the log.
    Log(Level, String),
    /// Server: a connection has ended before anybody logged in on it, and why. Strangers make such connections, as many as they
    /// like, so that not each of them is worth a line of the log.
    Stranger(String),
}

/// A TLS connection that a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Its number.
    pub conn: ConnId,
    /// Where to (`host:port`), instead of the configured server.
    pub redirect: Option<String>,
    /// The uplink port to leave by; `None`: whichever the kernel chooses.
    pub port: Option<u8>,
}

/// A block with tunnel ID 0 to be sent (protocol 4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnBlock {
    /// The session.
    pub session: SessionIndex,
    /// The path whose lane carries it.
    pub path: usize,
    /// By another way than the path's own.
    pub to: Option<Way>,
    /// The block.
    pub body: Vec<u8>,
    /// Octets of the record, to which the block is filled up with zeros; 0: no more than it needs.
    pub record: u16,
}
