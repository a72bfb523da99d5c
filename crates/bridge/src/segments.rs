//! The segments of a snapshot, and where a frame of one goes.

use wire::tunnel::TunnelId;

use crate::{AttachmentIndex, Checks, Endpoint, Policy, SegmentIndex, SessionIndex};

/// One stretched L2 network.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its name in the configuration.
    pub name: String,
    /// Its name across the tunnel.
    pub tunnel_id: TunnelId,
    /// Octets of a frame after its 14-octet Ethernet header, at most.
    pub mtu: u16,
    /// Where it meets local ports, and forwards.
    pub attachments: Vec<AttachmentIndex>,
    /// The sessions that are up and attach it at the other end.
    pub sessions: Vec<SessionIndex>,
    /// Whether what comes from one session may go to another.
    pub spoke_to_spoke: bool,
    /// What it does beside forwarding.
    pub policy: Policy,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Send it to one endpoint.
    To(Endpoint),
    /// Send it everywhere that split horizon allows.
    Flood,
    /// Its destination is where it came from, or lies where split horizon forbids: drop it.
    SameEndpoint,
}

/// What every frame of a segment is held against.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Octets of a frame after its 14-octet Ethernet header, at most.
    pub mtu: u16,
    /// What is to be looked at.
    pub checks: Checks,
}

/// All segments of the appliance, by [`SegmentIndex`].
#[derive(Clone, Debug, Default)]
pub struct Segments {
    all: Vec<Segment>,
    /// Of each segment, close together: every frame asks for them.
    rules: Vec<Rules>,
}

impl Segments {
    /// The table of `segments`, in the order of their indices.
    pub fn new(segments: Vec<Segment>) -> Self {
        let rules =
            segments.iter().map(|segment| Rules { mtu: segment.mtu, checks: segment.policy.checks() });
        Self { rules: rules.collect(), all: segments }
    }

    /// What the frames of a segment are held against.
    #[inline]
    pub fn rules(&self, index: SegmentIndex) -> Option<Rules> {
        self.rules.get(usize::from(index.0)).copied()
    }

    /// The segment at `index`.
    pub fn get(&self, index: SegmentIndex) -> Option<&Segment> {
        self.all.get(usize::from(index.0))
    }

    /// All segments with their indices.
    pub fn iter(&self) -> impl Iterator<Item = (SegmentIndex, &Segment)> {
        (0..).map(SegmentIndex).zip(&self.all)
    }

    /// Where a frame that came from `from` goes whose destination is known to be at `known`: known unicast to one place,
    /// everything else, group addresses too, everywhere (IEEE 802.1Q 8.8.10).
    #[inline]
    pub fn forward(&self, segment: SegmentIndex, from: Endpoint, known: Option<Endpoint>) -> Forward {
        match known {
            None => Forward::Flood,
            Some(to) if self.allowed(segment, from, to) => Forward::To(to),
            Some(_) => Forward::SameEndpoint,
        }
    }

    /// The sessions that a flooded frame goes to.
    pub fn flood_sessions(
        &self,
        segment: SegmentIndex,
        from: Endpoint,
    ) -> impl Iterator<Item = SessionIndex> + '_ {
        let sessions = self.get(segment).map_or(&[][..], |segment| &segment.sessions);
        sessions.iter().copied().filter(move |to| self.allowed(segment, from, Endpoint::Session(*to)))
    }

    /// The local attachments that a flooded frame goes to.
    pub fn flood_attachments(
        &self,
        segment: SegmentIndex,
        from: Endpoint,
    ) -> impl Iterator<Item = AttachmentIndex> + '_ {
        let attachments = self.get(segment).map_or(&[][..], |segment| &segment.attachments);
        attachments.iter().copied().filter(move |to| self.allowed(segment, from, Endpoint::Attachment(*to)))
    }

    /// Split horizon: never back to where a frame came from, not between the VTEPs of one attachment (the underlay does
    /// that), and between sessions only where the segment allows it.
    fn allowed(&self, segment: SegmentIndex, from: Endpoint, to: Endpoint) -> bool {
        match (from, to) {
            (Endpoint::Session(from), Endpoint::Session(to)) => {
                from != to && self.get(segment).is_some_and(|segment| segment.spoke_to_spoke)
            }
            (
                Endpoint::Attachment(from) | Endpoint::Vtep(from, _),
                Endpoint::Attachment(to) | Endpoint::Vtep(to, _),
            ) => from != to,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fdb, RemoteIndex};
    use wire::mac::MacAddr;

    const SEGMENT: SegmentIndex = SegmentIndex(0);

    fn table(spoke_to_spoke: bool) -> Segments {
        Segments::new(vec![Segment {
            name: "servers".into(),
            tunnel_id: TunnelId::new(10).expect("in range"),
            mtu: 1500,
            attachments: vec![AttachmentIndex(0), AttachmentIndex(1)],
            sessions: vec![SessionIndex(0), SessionIndex(1)],
            spoke_to_spoke,
            policy: Policy::default(),
        }])
    }

    fn flood(table: &Segments, from: Endpoint) -> (Vec<u16>, Vec<u16>) {
        (
            table.flood_attachments(SEGMENT, from).map(|index| index.0).collect(),
            table.flood_sessions(SEGMENT, from).map(|index| index.0).collect(),
        )
    }

    #[test]
    fn flooding_obeys_split_horizon() {
        let attachment = Endpoint::Attachment(AttachmentIndex(0));
        let vtep = Endpoint::Vtep(AttachmentIndex(1), RemoteIndex(5));
        let session = Endpoint::Session(SessionIndex(1));
        for (spokes, from, expected) in [
            (true, attachment, (vec![1], vec![0, 1])),
            (false, attachment, (vec![1], vec![0, 1])),
            (true, vtep, (vec![0], vec![0, 1])),
            (true, session, (vec![0, 1], vec![0])),
            (false, session, (vec![0, 1], vec![])),
        ] {
            assert_eq!(flood(&table(spokes), from), expected, "{from:?}, spoke to spoke {spokes}");
        }
    }

    #[test]
    fn known_unicast_goes_to_one_place_within_split_horizon() {
        let fdb = Fdb::new(16);
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let here = Endpoint::Session(SessionIndex(0));
        fdb.learn(SEGMENT, mac, here, 1);
        let forward = |spokes, from, dst| table(spokes).forward(SEGMENT, from, fdb.lookup(SEGMENT, dst));
        let lan = Endpoint::Attachment(AttachmentIndex(0));
        let spoke = Endpoint::Session(SessionIndex(1));
        assert_eq!(forward(true, lan, mac), Forward::To(here));
        assert_eq!(forward(true, spoke, mac), Forward::To(here));
        assert_eq!(forward(false, spoke, mac), Forward::SameEndpoint);
        assert_eq!(forward(true, here, mac), Forward::SameEndpoint);
        assert_eq!(forward(true, lan, MacAddr([2, 0, 0, 0, 0, 2])), Forward::Flood);
        assert_eq!(forward(true, lan, MacAddr::BROADCAST), Forward::Flood);
    }
}
