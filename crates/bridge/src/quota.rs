//! How many addresses each part of the network may have in the FDB, so that none can fill it for all.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use crate::{AttachmentIndex, Endpoint, SegmentIndex, SessionIndex};

/// Segments that there can be: as many as tunnel IDs.
pub const MAX_SEGMENTS: usize = 4096;
/// Sessions that there can be.
pub const MAX_SESSIONS: usize = 4096;
/// Ports that there can be.
pub const MAX_PORTS: usize = 256;

/// What a limit applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A segment, wherever its addresses are.
    Segment(SegmentIndex),
    /// All addresses behind a session.
    Session(SessionIndex),
    /// All addresses behind a port, by the port's number.
    Port(u8),
}

/// Counts and limits of all parts.
#[derive(Debug)]
pub(crate) struct Quotas {
    segments: Box<[Quota]>,
    sessions: Box<[Quota]>,
    ports: Box<[Quota]>,
    /// The port of each attachment.
    port_of: Box<[AtomicU8]>,
}

#[derive(Debug)]
struct Quota {
    held: AtomicU32,
    most: AtomicU32,
}

impl Default for Quota {
    fn default() -> Self {
        Self { held: AtomicU32::new(0), most: AtomicU32::new(u32::MAX) }
    }
}

impl Quota {
    fn has_room(&self) -> bool {
        self.held.load(Relaxed) < self.most.load(Relaxed)
    }
}

impl Default for Quotas {
    fn default() -> Self {
        let some = |count: usize| (0..count).map(|_| Quota::default()).collect();
        let attachments = usize::from(Endpoint::MAX_ATTACHMENT) + 1;
        Self {
            segments: some(MAX_SEGMENTS),
            sessions: some(MAX_SESSIONS),
            ports: some(MAX_PORTS),
            port_of: (0..attachments).map(|_| AtomicU8::new(0)).collect(),
        }
    }
}

impl Quotas {
    /// Limits a part; `None`: no limit of its own. What it holds already stays.
    pub(crate) fn limit(&self, part: Part, most: Option<u32>) {
        if let Some(quota) = self.of(part) {
            quota.most.store(most.unwrap_or(u32::MAX), Relaxed);
        }
    }

    /// Addresses that a part holds.
    pub(crate) fn held(&self, part: Part) -> u32 {
        self.of(part).map_or(0, |quota| quota.held.load(Relaxed))
    }

    /// Most addresses that a part may hold; `None`: it has no limit of its own.
    pub(crate) fn most(&self, part: Part) -> Option<u32> {
        let most = self.of(part)?.most.load(Relaxed);
        (most != u32::MAX).then_some(most)
    }

    /// Says which port an attachment is on. To be told while no address is behind it.
    pub(crate) fn place(&self, attachment: AttachmentIndex, port: u8) {
        if let Some(place) = self.port_of.get(usize::from(attachment.0)) {
            place.store(port, Relaxed);
        }
    }

    /// Whether a new address of `segment` at `at` fits.
    pub(crate) fn has_room(&self, segment: SegmentIndex, at: Endpoint) -> bool {
        [Part::Segment(segment), self.part(at)]
            .into_iter()
            .all(|part| self.of(part).is_none_or(Quota::has_room))
    }

    /// Whether a known address may move.
    pub(crate) fn may_move(&self, from: Endpoint, to: Endpoint) -> bool {
        let part = self.part(to);
        self.part(from) == part || self.of(part).is_none_or(Quota::has_room)
    }

    pub(crate) fn added(&self, segment: SegmentIndex, at: Endpoint) {
        for part in [Part::Segment(segment), self.part(at)] {
            self.of(part).inspect(|quota| _ = quota.held.fetch_add(1, Relaxed));
        }
    }

    pub(crate) fn removed(&self, segment: SegmentIndex, at: Endpoint) {
        for part in [Part::Segment(segment), self.part(at)] {
            self.of(part).inspect(|quota| _ = quota.held.fetch_sub(1, Relaxed));
        }
    }

    pub(crate) fn moved(&self, from: Endpoint, to: Endpoint) {
        self.of(self.part(to)).inspect(|quota| _ = quota.held.fetch_add(1, Relaxed));
        self.of(self.part(from)).inspect(|quota| _ = quota.held.fetch_sub(1, Relaxed));
    }

    fn part(&self, at: Endpoint) -> Part {
        match at {
            Endpoint::Session(session) => Part::Session(session),
            Endpoint::Attachment(at) | Endpoint::Vtep(at, _) => {
                Part::Port(self.port_of.get(usize::from(at.0)).map_or(0, |port| port.load(Relaxed)))
            }
        }
    }

    fn of(&self, part: Part) -> Option<&Quota> {
        match part {
            Part::Segment(index) => self.segments.get(usize::from(index.0)),
            Part::Session(index) => self.sessions.get(usize::from(index.0)),
            Part::Port(index) => self.ports.get(usize::from(index)),
        }
    }
}
