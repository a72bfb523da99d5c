//! What the console shows of a session, and what the workers' tables need of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use record::Cipher;
use wire::tunnel::TunnelId;
use wire::way::Way;

use crate::Now;
use crate::message::SegmentList;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The operator has taken the site out of service.
    Disabled,
    /// There is none, and nobody tries.
    Down,
    /// A login is on its way.
    Connecting,
    /// Frames cross.
    Up,
}

impl State {
    /// The name in the console.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Down => "down",
            Self::Connecting => "connecting",
            Self::Up => "up",
        }
    }
}

/// What the console shows of a session.
#[derive(Clone, Debug)]
pub struct SiteStatus {
    /// The site's name.
    pub site: String,
    /// Where it stands.
    pub state: State,
    /// Since when it is up.
    pub up_since: Option<Now>,
    /// When its present keys were agreed on by a handshake.
    pub keys_since: Option<Now>,
    /// The peer's address on the data channel.
    pub peer: Option<SocketAddr>,
    /// The data cipher.
    pub cipher: Option<Cipher>,
    /// The last measured round trip.
    pub round_trip: Option<Duration>,
    /// What carries its records.
    pub transport: Option<Carrier>,
    /// Its paths.
    pub paths: Vec<PathStatus>,
    /// When an authentic record arrived last.
    pub last_heard: Option<Now>,
    /// How often the session has renewed its keys by a new handshake.
    pub renewals: u64,
    /// The peer's software.
    pub software: String,
    /// Why the last attempt or session ended, and when.
    pub last_failure: Option<(Now, String)>,
}

impl SiteStatus {
    /// Octets of the largest IP packet that gets through on every path that carries frames.
    pub fn path_mtu(&self) -> Option<u16> {
        let up = self.paths.iter().filter(|path| path.state == PathState::Up);
        up.filter_map(|path| path.mtu).min()
    }
}

/// What carries a session's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// Whether it is the control connection, and not UDP.
    pub tcp: bool,
    /// Since when.
    pub since: Now,
    /// Why.
    pub why: &'static str,
}

/// What the workers' tables need of a session that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Where to send to: its parallel paths.
    pub paths: Vec<PathView>,
    /// The segments that both ends attach, with the smaller of their MTUs.
    pub segments: SegmentList,
}

/// What the workers' tables need of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    /// Whether its records go over the control connection.
    pub tcp: bool,
    /// Where the peer is, if that is known.
    pub way: Option<Way>,
    /// Octets of the largest record that gets through.
    pub max_record: u16,
    /// Whether it carries frames.
    pub usable: bool,
}

/// How a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// The peer's address has not been proven yet.
    Unknown,
    /// Nothing gets through.
    Down,
    /// It was down, and has yet to show that it lasts.
    Settling,
    /// It is ready to carry frames when no other does.
    Standby,
    /// It carries frames.
    Up,
}

impl PathState {
    /// The name in the console.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Settling => "settling",
            Self::Standby => "standby",
            Self::Up => "up",
        }
    }
}

/// What the console shows of a path.
#[derive(Clone, Copy, Debug)]
pub struct PathStatus {
    /// Whether its records go over the control connection.
    pub tcp: bool,
    /// Our port and where the peer is.
    pub way: Option<Way>,
    /// How it is.
    pub state: PathState,
    /// The smoothed round trip.
    pub round_trip: Option<Duration>,
    /// Percent of the last echo requests that were lost.
    pub loss: Option<f64>,
    /// Octets of the largest IP packet that gets through.
    pub mtu: Option<u16>,
}

impl SessionView {
    /// What both of two lists have.
    pub(crate) fn joined(ours: &SegmentList, theirs: &SegmentList) -> SegmentList {
        let theirs: HashMap<_, _> = theirs.iter().copied().collect();
        let both = |(tunnel, mtu): &(TunnelId, u16)| Some((*tunnel, *theirs.get(tunnel)?.min(mtu)));
        ours.iter().filter_map(both).collect()
    }
}
