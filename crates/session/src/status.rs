//! What the console shows of a session, and what the workers' tables need of it.

use std::collections::HashMap;
use std::net::SocketAddr;

use record::Cipher;
use wire::tunnel::TunnelId;

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
    /// The peer's address on the data channel.
    pub peer: Option<SocketAddr>,
    /// The data cipher.
    pub cipher: Option<Cipher>,
    /// The last measured round trip.
    pub round_trip: Option<std::time::Duration>,
    /// When an authentic record arrived last.
    pub last_heard: Option<Now>,
    /// How often the session has renewed its keys by a new handshake.
    pub renewals: u64,
    /// The peer's software.
    pub software: String,
    /// Why the last attempt or session ended, and when.
    pub last_failure: Option<(Now, String)>,
}

/// What the workers' tables need of a session that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Where to send to.
    pub peer: Option<SocketAddr>,
    /// The segments that both ends attach, with the smaller of their MTUs.
    pub segments: SegmentList,
}

impl SessionView {
    /// What both of two lists have.
    pub(crate) fn joined(ours: &SegmentList, theirs: &SegmentList) -> SegmentList {
        let theirs: HashMap<_, _> = theirs.iter().copied().collect();
        let both = |(tunnel, mtu): &(TunnelId, u16)| Some((*tunnel, *theirs.get(tunnel)?.min(mtu)));
        ours.iter().filter_map(both).collect()
    }
}
