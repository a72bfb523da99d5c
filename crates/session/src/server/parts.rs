//! What a server keeps of each site and of each connection.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use record::{Cipher, LaneId, TxLane};

use crate::framing::Framer;
use crate::link::Link;
use crate::message::{Login, SegmentList};
use crate::scram::{BINDING_LEN, ServerScram};
use crate::{ConnId, Now, Shown};

/// The changing part of a site.
#[derive(Default)]
pub(super) struct Site {
    /// Whether it was removed; its parameters are those it had last.
    pub(super) vacant: bool,
    pub(super) link: Option<Link>,
    pub(super) instance: [u8; 16],
    /// The certificate that its client showed for the present epoch.
    pub(super) shown: Option<Shown>,
    /// The connection that the present epoch came from, while it is open.
    pub(super) current: Option<ConnId>,
    pub(super) cipher: Option<Cipher>,
    pub(super) peer_segments: SegmentList,
    pub(super) software: String,
    pub(super) renewals: u64,
    pub(super) last_failure: Option<(Now, String)>,
}

pub(super) struct Conn {
    pub(super) framer: Framer,
    pub(super) from: SocketAddr,
    pub(super) started: Now,
    pub(super) fingerprint: [u8; 32],
    /// The certificate that the client showed.
    pub(super) shown: Option<Shown>,
    pub(super) stage: Stage,
}

pub(super) enum Stage {
    /// TLS.
    Handshake,
    /// Waits for `login`.
    Connected { binding: [u8; BINDING_LEN] },
    /// `challenge` is sent. `site` is `None` for a name that does not exist.
    Challenged { scram: Box<ServerScram>, site: Option<usize>, login: Login },
    /// Authenticated, but another instance holds the site.
    Conflict { site: usize, login: Login, last: Vec<u8>, asked: Now },
    /// `welcome` is sent.
    Welcomed(Agreed),
    /// The workers get their receive lanes.
    Preparing(Box<Preparing>),
    /// A session's control connection.
    Open { site: usize },
    /// It was, and is left open until the client's last records have come, or so long.
    Replaced { site: usize, until: Now },
}

/// What `login` and `welcome` agree on.
pub(super) struct Agreed {
    pub(super) site: usize,
    pub(super) instance: [u8; 16],
    pub(super) cipher: Cipher,
    pub(super) software: String,
    pub(super) paths: usize,
    pub(super) tcp: bool,
    pub(super) dead_peer: Duration,
}

pub(super) struct Preparing {
    pub(super) agreed: Agreed,
    pub(super) rx: Vec<LaneId>,
    pub(super) missing: HashSet<LaneId>,
    pub(super) tx: Vec<TxLane>,
    pub(super) segments: SegmentList,
}

impl Stage {
    /// The site whose login it has passed, if it is not open yet.
    pub(super) fn passed(&self) -> Option<usize> {
        match self {
            Self::Conflict { site, .. } => Some(*site),
            Self::Welcomed(agreed) => Some(agreed.site),
            Self::Preparing(preparing) => Some(preparing.agreed.site),
            _ => None,
        }
    }

    pub(super) fn is_authenticated(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. }
                | Self::Welcomed(_)
                | Self::Preparing(_)
                | Self::Open { .. }
                | Self::Replaced { .. }
        )
    }
}
