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
pub mod scram;
mod server;
mod status;

use std::net::SocketAddr;
use std::time::Duration;

use bridge::SessionIndex;
use record::{LaneId, RxLane, TxLane};

pub use client::{Client, ClientParams};
pub use message::SegmentList;
pub use server::{Server, ServerParams, SiteParams};
pub use status::{SessionView, SiteStatus, State};

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
    /// Client: open a TLS connection, to `server` (`host:port`) instead of the configured one if given, and report
    /// it under this number.
    Connect(ConnId, Option<String>),
    /// Client: the login on this connection has succeeded.
    LoggedIn(ConnId),
    /// Send bytes inside a TLS connection.
    Send(ConnId, Vec<u8>),
    /// End a TLS connection after what was to be sent. It is not reported.
    Close(ConnId),
    /// Receive on the peer's lane with this index, whose ID says which worker does, and report when it is so.
    InstallRx(SessionIndex, usize, Box<RxLane>),
    /// Send on this lane from now on: the lane of the worker with this number.
    InstallTx(SessionIndex, usize, Box<TxLane>),
    /// Receive no more on a lane.
    RemoveRx(LaneId),
    /// Send no more in a session.
    RemoveTx(SessionIndex),
    /// Send a block with tunnel ID 0, to the given address or else the session's.
    SendBlock(SessionIndex, Option<SocketAddr>, Vec<u8>),
    /// What [`SessionView`] says of the session has changed: up, down, address, or segments.
    Changed(SessionIndex),
    /// For the log.
    Log(Level, String),
}
