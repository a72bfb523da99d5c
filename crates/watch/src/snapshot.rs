//! What the control thread tells the thread that others watch the appliance by.

use std::time::Duration;

use counters::{DropReason, MssTotals, PollTotals, PortTotals, SessionTotals, SideTotals};

/// The appliance at one moment. Text of a peer is in it as it came: whoever writes it down escapes it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Time since the appliance started.
    pub now: Duration,
    /// The date of this moment, for people.
    pub date: String,
    /// When it started, in seconds since 1970, by the clock of then: always the same.
    pub started: f64,
    /// When it started by the clock of now, which may have been set right since.
    pub zero: f64,
    /// The version of the software.
    pub version: &'static str,
    /// `server` or `client`.
    pub mode: &'static str,
    /// The sites of a server, or a client's one session.
    pub sites: Vec<Site>,
    /// Every segment.
    pub segments: Vec<Segment>,
    /// Every port.
    pub ports: Vec<Port>,
    /// Every worker.
    pub workers: Vec<Worker>,
    /// Dropped packets: every reason there is.
    pub drops: Vec<(DropReason, u64)>,
    /// MAC addresses that are known, and that there is room for.
    pub macs: (usize, usize),
    /// Connections to a server's TCP port that came to nothing, by why.
    pub refused: Vec<(&'static str, u64)>,
    /// When certificates end: what each is for, and seconds since 1970.
    pub certificates: Vec<(&'static str, i64)>,
    /// Changed configurations: taken, and not good.
    pub reloads: (u64, u64),
}

/// A remote end.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// `up`, `connecting`, `down` or `disabled`.
    pub state: &'static str,
    /// When the session came up.
    pub since: Option<Duration>,
    /// Where it is.
    pub peer: Option<String>,
    /// `udp` or `tcp`.
    pub transport: Option<&'static str>,
    /// The data cipher.
    pub cipher: Option<&'static str>,
    /// The last measured round trip.
    pub round_trip: Option<Duration>,
    /// Octets of the largest IP packet that gets through.
    pub path_mtu: Option<u32>,
    /// Its paths, in the order of their numbers.
    pub paths: Vec<Path>,
    /// When an authentic record arrived last.
    pub last_heard: Option<Duration>,
    /// When the present keys were agreed on.
    pub keys_since: Option<Duration>,
    /// Fresh handshakes.
    pub renewals: u64,
    /// Why the last login or session ended, and when.
    pub last_failure: Option<(Duration, String)>,
    /// What passed.
    pub counters: SessionTotals,
}

/// One of the parallel paths of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    /// `up`, `settling`, `down` or `unknown`.
    pub state: &'static str,
    /// The smoothed round trip.
    pub round_trip: Option<Duration>,
    /// The share of the last echo requests that was lost, 0 to 1.
    pub loss: Option<f64>,
}

/// A stretched network.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Its name across the tunnel.
    pub tunnel_id: u16,
    /// Whether it is in service.
    pub enabled: bool,
    /// Where it meets ports, as people write it, and each attachment's state: `forwarding`, `listening` or `blocked`.
    pub attachments: Vec<(String, &'static str)>,
    /// Positions in [`Snapshot::sites`] of those that join it now.
    pub sites: Vec<usize>,
    /// What entered it from its local side.
    pub from_lan: SideTotals,
    /// What entered it from sessions.
    pub from_tunnel: SideTotals,
    /// TCP handshakes.
    pub mss: MssTotals,
    /// Dropped frames by reason, where there are any.
    pub drops: Vec<(DropReason, u64)>,
}

/// A port.
#[derive(Clone, Debug, Default)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// `trunk`, `uplink` or `host`.
    pub role: &'static str,
    /// Whether its line is up.
    pub up: bool,
    /// Mbit/s, 0 when not known.
    pub mbps: u32,
    /// What passed.
    pub counters: PortTotals,
    /// Packets that the device dropped: for want of descriptors, and of buffers.
    pub missed: (u64, u64),
}

/// A worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worker {
    /// What its loop did.
    pub poll: PollTotals,
    /// Whether it has made no progress for a while.
    pub stalled: bool,
}

impl Snapshot {
    /// A moment of the appliance's time as seconds since 1970.
    pub fn unix(&self, at: Duration) -> f64 {
        self.zero + at.as_secs_f64()
    }

    /// How long ago a moment was.
    pub fn ago(&self, at: Duration) -> Duration {
        self.now.saturating_sub(at)
    }
}
