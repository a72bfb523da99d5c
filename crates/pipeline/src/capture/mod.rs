//! Captures: copies of packets for the control thread, taken where somebody asked for them.
//!
//! A capture is a [`Tap`] in the tables. Without one, [`Tables::taps`](crate::tables::Tables::taps) is `None`, and each stage tests that once a
//! burst; the stages between ports test a bit of their segment's [`Checks`](bridge::Checks), which they have in hand anyway. Buffers come from
//! the control thread and go back to it, so that a worker allocates nothing here either; when there is none left, the packet is counted and
//! not copied.

mod fields;
mod filter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;
use bridge::{Endpoint, SegmentIndex, SessionIndex};
use counters::DropReason;
use crossbeam::channel::{Receiver, Sender, bounded};

pub use fields::Fields;
pub use filter::{BadFilter, Filter};

use crate::tables::PortIndex;

/// Octets of a packet that a filter sees.
const SEEN: usize = 256;

/// Where a tap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// What a port receives and sends.
    Port(PortIndex),
    /// What all trunk ports receive.
    Trunks,
    /// Frames that enter a segment, without their encapsulation, from ports and sessions.
    Segment(SegmentIndex),
    /// A session's frames.
    Inside(SessionIndex),
    /// Frames that come out of any session.
    Sessions,
    /// A session's records, as datagrams.
    Outside(SessionIndex),
    /// A session's records, opened: header and blocks.
    Blocks(SessionIndex),
    /// What is dropped, for one reason or for all.
    Drops(Option<DropReason>),
}

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The port it was on.
    pub port: Option<PortIndex>,
    /// Its segment.
    pub segment: Option<SegmentIndex>,
    /// The attachment or session it came from, or goes to if it is [`Place::outbound`].
    pub endpoint: Option<Endpoint>,
    /// Whether it leaves.
    pub outbound: bool,
}

impl Place {
    /// On a port.
    pub fn on(port: PortIndex, outbound: bool) -> Self {
        Self { port: Some(port), segment: None, endpoint: None, outbound }
    }

    /// In a segment, or in a session if there is no segment.
    pub fn at(segment: Option<SegmentIndex>, endpoint: Endpoint, outbound: bool) -> Self {
        Self { port: None, segment, endpoint: Some(endpoint), outbound }
    }
}

/// A copy of a packet.
#[derive(Debug)]
pub struct Packet {
    /// When, since the start.
    pub at: Duration,
    /// Where.
    pub place: Place,
    /// Why it was dropped, if it was.
    pub reason: Option<DropReason>,
    /// How long it was.
    pub len: usize,
    /// Its octets, as many as were asked for. Goes back by [`Tapped::give_back`].
    pub octets: Vec<u8>,
}

/// A capture as the workers see it.
#[derive(Debug)]
pub struct Tap {
    /// Where it is.
    pub point: Point,
    filter: Filter,
    snap: usize,
    free: Receiver<Vec<u8>>,
    full: Sender<Packet>,
    missed: AtomicU64,
}

/// A capture as the control thread sees it.
#[derive(Debug)]
pub struct Tapped {
    free: Sender<Vec<u8>>,
    full: Receiver<Packet>,
    tap: Arc<Tap>,
}

impl Tap {
    /// A tap for packets that match `filter`, with so many buffers of `snap` octets.
    pub fn new(point: Point, filter: Filter, snap: usize, buffers: usize) -> (Arc<Self>, Tapped) {
        let (give, free) = bounded(buffers);
        let (full, take) = bounded(buffers);
        for _ in 0..buffers {
            // There is room for all of them.
            let _ = give.try_send(Vec::with_capacity(snap));
        }
        let tap = Arc::new(Self { point, filter, snap, free, full, missed: AtomicU64::new(0) });
        (Arc::clone(&tap), Tapped { free: give, full: take, tap })
    }

    /// Takes a packet, given in pieces, if it matches.
    fn offer<const N: usize>(
        &self,
        at: Duration,
        place: Place,
        reason: Option<DropReason>,
        pieces: [&[u8]; N],
    ) {
        let octets = || pieces.iter().flat_map(|piece| piece.iter().copied());
        // Opened records are no frames: a filter would read nonsense.
        if !self.filter.takes_all() && !matches!(self.point, Point::Blocks(_)) {
            let seen: ArrayVec<u8, SEEN> = octets().take(SEEN).collect();
            let len = pieces.iter().map(|piece| piece.len()).sum();
            if !self.filter.matches(&Fields::of(&seen, len)) {
                return;
            }
        }
        let Ok(mut copy) = self.free.try_recv() else {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (mut len, mut room) = (0, self.snap);
        for piece in pieces {
            copy.extend_from_slice(&piece[..piece.len().min(room)]);
            room -= piece.len().min(room);
            len += piece.len();
        }
        // There are as many places as buffers.
        let _ = self.full.try_send(Packet { at, place, reason, len, octets: copy });
    }
}

impl Tapped {
    /// The next packet, if there is one.
    pub fn take(&self) -> Option<Packet> {
        self.full.try_recv().ok()
    }

    /// Whether there is a packet.
    pub fn is_waiting(&self) -> bool {
        !self.full.is_empty()
    }

    /// Gives a packet's buffer back for another.
    pub fn give_back(&self, mut packet: Packet) {
        packet.octets.clear();
        // There are as many places as buffers.
        let _ = self.free.try_send(packet.octets);
    }

    /// Packets that matched while there was no buffer.
    pub fn missed(&self) -> u64 {
        self.tap.missed.load(Ordering::Relaxed)
    }

    /// The workers' side.
    pub fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }
}

/// All captures that are on.
#[derive(Clone, Debug)]
pub struct Taps(Vec<Arc<Tap>>);

impl Taps {
    /// Those of `taps`; `None` if there are none.
    pub fn new(taps: Vec<Arc<Tap>>) -> Option<Self> {
        (!taps.is_empty()).then_some(Self(taps))
    }

    /// Whether a segment's frames have to be shown to [`Taps::entered`] and [`Taps::crossed`].
    pub fn in_segments(&self) -> impl Iterator<Item = Point> + '_ {
        self.0
            .iter()
            .map(|tap| tap.point)
            .filter(|point| matches!(point, Point::Segment(_) | Point::Inside(_) | Point::Sessions))
    }

    /// A burst on a port.
    #[cold]
    pub fn on_port<'a>(
        &self,
        at: Duration,
        port: PortIndex,
        (trunk, outbound): (bool, bool),
        packets: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        let wanted = |point| point == Point::Port(port) || (point == Point::Trunks && trunk && !outbound);
        for tap in self.0.iter().filter(|tap| wanted(tap.point)) {
            for packet in packets.clone() {
                tap.offer(at, Place::on(port, outbound), None, [packet]);
            }
        }
    }

    /// A frame entered a segment.
    pub(crate) fn entered(&self, at: Duration, segment: SegmentIndex, from: Endpoint, frame: [&[u8]; 2]) {
        let place = Place::at(Some(segment), from, false);
        self.offer(at, place, frame, |point| match (point, from) {
            (Point::Segment(wanted), _) => wanted == segment,
            (Point::Inside(wanted), Endpoint::Session(from)) => wanted == from,
            (Point::Sessions, Endpoint::Session(_)) => true,
            _ => false,
        });
    }

    /// A frame is sent into a session.
    pub(crate) fn crossed(
        &self,
        at: Duration,
        segment: SegmentIndex,
        session: SessionIndex,
        frame: [&[u8]; 2],
    ) {
        let place = Place::at(Some(segment), Endpoint::Session(session), true);
        self.offer(at, place, frame, |point| point == Point::Inside(session));
    }

    /// Whether somebody wants records.
    pub(crate) fn want_records(&self) -> bool {
        self.0.iter().any(|tap| matches!(tap.point, Point::Outside(_) | Point::Blocks(_)))
    }

    /// A record as a datagram.
    pub(crate) fn outside(&self, at: Duration, session: SessionIndex, outbound: bool, packet: &[u8]) {
        let place = Place::at(None, Endpoint::Session(session), outbound);
        self.offer(at, place, [packet], |point| point == Point::Outside(session));
    }

    /// A record that is open: its header and its blocks.
    pub(crate) fn opened(&self, at: Duration, session: SessionIndex, outbound: bool, record: [&[u8]; 2]) {
        let place = Place::at(None, Endpoint::Session(session), outbound);
        self.offer(at, place, record, |point| point == Point::Blocks(session));
    }

    /// A packet is dropped.
    pub(crate) fn dropped(&self, at: Duration, reason: DropReason, place: Place, frame: [&[u8]; 2]) {
        for tap in &self.0 {
            if matches!(tap.point, Point::Drops(wanted) if wanted.is_none_or(|wanted| wanted == reason)) {
                tap.offer(at, place, Some(reason), frame);
            }
        }
    }

    fn offer<const N: usize>(
        &self,
        at: Duration,
        place: Place,
        pieces: [&[u8]; N],
        wanted: impl Fn(Point) -> bool,
    ) {
        for tap in self.0.iter().filter(|tap| wanted(tap.point)) {
            tap.offer(at, place, None, pieces);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortIndex = PortIndex(3);

    fn offer(taps: &Taps, packets: &[&[u8]]) {
        taps.on_port(Duration::ZERO, PORT, (true, false), packets.iter().copied());
    }

    #[test]
    fn what_does_not_fit_is_counted_and_buffers_come_back() {
        let (tap, tapped) = Tap::new(Point::Port(PORT), Filter::default(), 4, 2);
        let taps = Taps::new(vec![tap]).expect("one");
        offer(&taps, &[&[1; 3], &[2; 9], &[3; 3]]);
        assert_eq!(tapped.missed(), 1);
        let packet = tapped.take().expect("the first");
        assert_eq!((packet.len, &packet.octets[..]), (3, &[1; 3][..]));
        tapped.give_back(packet);
        let packet = tapped.take().expect("the second");
        assert_eq!((packet.len, &packet.octets[..]), (9, &[2; 4][..]), "cut");
        let capacity = packet.octets.capacity();
        tapped.give_back(packet);
        assert!(tapped.take().is_none());
        offer(&taps, &[&[4; 9], &[5; 9], &[6; 9]]);
        assert_eq!(tapped.missed(), 2);
        assert_eq!(tapped.take().expect("the fourth").octets.capacity(), capacity, "the same buffers");
    }

    #[test]
    fn only_what_matches_takes_a_buffer() {
        let filter: Filter = "ether dst 02:00:00:00:00:01".parse().expect("a filter");
        let (tap, tapped) = Tap::new(Point::Trunks, filter, 100, 1);
        let taps = Taps::new(vec![tap]).expect("one");
        let frame = |last: u8| [&[2, 0, 0, 0, 0, last][..], &[0; 54]].concat();
        offer(&taps, &[&frame(2), &frame(3), &frame(1), &[1]]);
        assert_eq!(tapped.take().expect("one").octets[5], 1);
        assert!(tapped.take().is_none() && tapped.missed() == 0);
        taps.on_port(Duration::ZERO, PORT, (true, true), [&frame(1)[..]].into_iter());
        taps.on_port(Duration::ZERO, PORT, (false, false), [&frame(1)[..]].into_iter());
        assert!(tapped.take().is_none(), "only what trunks receive");
        assert!(Taps::new(Vec::new()).is_none());
    }
}
