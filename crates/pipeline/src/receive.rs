//! The receive stage: finds the lane of a datagram, opens the record in place, and takes the frames
//! out of its blocks (protocol sections 3 and 4).

use std::ops::Range;
use std::time::Duration;

use arrayvec::ArrayVec;
use bridge::{Endpoint, Rules, SegmentIndex, SessionIndex};
use counters::DropReason;
use hashbrown::HashMap;
use record::reassembly::{GaveUp, Piece, Reassembler};
use record::{LaneId, OpenError, RxLane, block, header};
use wire::buf::{BufPool, PacketBuf};
use wire::frame::parse_udp;
use wire::inner::priority_tag;
use wire::mac::MacBits;
use wire::mark;
use wire::vlan::TAG_LEN;
use wire::way::Way;

use crate::capture::Place;
use crate::command::{ControlBlock, Event, MAX_CONTROL_BLOCK};
use crate::forward::Keys;
use crate::frame::{ADDRESSES, Body, Meta, bridgeable};
use crate::send::SESSION_TUNNEL;
use crate::tables::{PortEntry, PortIndex, UplinkEntry};
use crate::{Engine, Sink, View};

/// A lane reports a new address of its peer at most this often.
const ADDRESS_REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// The receive lanes that one worker owns.
pub(crate) struct RxLanes<B> {
    lanes: HashMap<LaneId, Box<RxEntry<B>>>,
}

struct RxEntry<B> {
    session: SessionIndex,
    /// The path that its records come by.
    path: usize,
    /// Whether where its records come from is where the path's peer is.
    leads: bool,
    lane: Box<RxLane>,
    pieces: Reassembler<B>,
    address_reported: Option<Duration>,
}

impl<B: PacketBuf> RxLanes<B> {
    /// Room for two epochs of every session with one path without growing.
    pub(crate) fn new(max_sessions: usize) -> Self {
        Self { lanes: HashMap::with_capacity(2 * max_sessions) }
    }

    pub(crate) fn install(
        &mut self,
        (session, path): (SessionIndex, usize),
        leads: bool,
        lane: Box<RxLane>,
    ) -> Option<Box<RxLane>> {
        let entry =
            RxEntry { session, path, leads, pieces: Reassembler::new(), address_reported: None, lane };
        self.lanes.insert(entry.lane.id(), Box::new(entry)).map(|old| old.lane)
    }

    pub(crate) fn remove(&mut self, id: LaneId) -> Option<Box<RxLane>> {
        self.lanes.remove(&id).map(|old| old.lane)
    }

    /// The session that a packet of an uplink is a record of, if it is one of ours.
    pub(crate) fn session_of(&self, packet: &[u8]) -> Option<SessionIndex> {
        let udp = parse_udp(packet).ok()??;
        let lane = header::lane_of(&packet[udp.payload]).ok()?;
        Some(self.lanes.get(&lane)?.session)
    }

    pub(crate) fn expire(&mut self, now: Duration) -> usize {
        self.lanes.values_mut().map(|entry| entry.pieces.expire(now)).sum()
    }
}

/// What became of a packet of the uplink.
pub(crate) enum Received<B> {
    /// It was a record.
    Taken,
    /// It was a record, and is to be dropped.
    Dropped(DropReason, B),
    /// Not a record of ours: the kernel may want it.
    NoRecord(B),
    /// A record of a lane that the worker with this number owns.
    OtherWorkers(usize, B),
}

/// What a record's header says.
enum Found<'a> {
    Record(Record<'a>),
    OtherWorkers(usize),
}

/// An authentic record, opened in place.
struct Record<'a> {
    session: SessionIndex,
    path: usize,
    lane: LaneId,
    number: u64,
    /// `None`: over TLS.
    from: Option<&'a Way>,
    octets: usize,
    /// Whether it met congestion on its way.
    congested: bool,
    plaintext: Range<usize>,
}

/// Kinds of blocks of the session's own (protocol 4.3), and the flag of an echo request that measures.
const PADDING: u8 = 0;
const ECHO_REQUEST: u8 = 1;
const ECHO_REPLY: u8 = 2;
const MEASURES: u8 = 2;

/// Whole frames of a record that are looked up at once.
const AT_ONCE: usize = 32;

/// A whole frame in a record.
struct Whole {
    meta: Meta,
    keys: Keys,
    range: Range<usize>,
}

/// What came out of one record, to be counted with it, and the segment of the frame before.
#[derive(Default)]
pub(crate) struct Unpacked {
    segment: Option<(u16, SegmentIndex, Rules)>,
    frames: u64,
    octets: u64,
    bum: u64,
    broadcast: u64,
}

impl Unpacked {
    /// Takes a whole frame that came through the tunnel, if it belongs to a segment of the session.
    #[inline]
    pub(crate) fn accept(
        &mut self,
        view: View<'_>,
        session: SessionIndex,
        tunnel: u16,
        frame: &[u8],
    ) -> Option<Meta> {
        let (segment, Rules { mtu, checks }) = match self.segment {
            Some((same, index, rules)) if same == tunnel => (index, rules),
            _ => {
                let found = joined_segment(view, session, tunnel);
                if found.is_none() {
                    refused(view, session, None, DropReason::UnknownTunnelId, frame);
                }
                let (index, rules) = found?;
                self.segment = Some((tunnel, index, rules));
                (index, rules)
            }
        };
        let Some((dst, src)) = MacBits::of_frame(frame) else {
            refused(view, session, Some(segment), DropReason::Runt, frame);
            return None;
        };
        let rest = &frame[ADDRESSES..];
        let header = if priority_tag(rest).is_some() { TAG_LEN + 2 } else { 2 };
        let payload = rest.len().checked_sub(header).ok_or(DropReason::Runt);
        if let Err(reason) = payload.and_then(|payload| bridgeable(dst, src, payload, mtu)) {
            refused(view, session, Some(segment), reason, frame);
            return None;
        }
        self.frames += 1;
        self.octets += frame.len() as u64;
        if dst.is_multicast() {
            self.bum += 1;
            self.broadcast += u64::from(dst.is_broadcast());
        }
        Some(Meta { segment, from: Endpoint::Session(session).into(), dst, src, checks })
    }

    fn settle(self, view: View<'_>, session: SessionIndex) {
        if let Some(counters) = view.counters.sessions.get(usize::from(session.0)) {
            counters.rx_frames.add(self.frames);
            counters.rx_octets.add(self.octets);
            if self.bum > 0 {
                counters.rx_bum.add(self.bum);
                counters.rx_broadcast.add(self.broadcast);
            }
        }
    }
}

/// A frame that came through a session goes no further.
#[cold]
fn refused(
    view: View<'_>,
    session: SessionIndex,
    segment: Option<SegmentIndex>,
    reason: DropReason,
    frame: &[u8],
) {
    if let Some(segment) = segment {
        view.dropped_in(segment, reason);
    }
    view.dropped_from(session);
    view.lost(reason, Place::at(segment, Endpoint::Session(session), false), [frame, &[]]);
}

/// The segment with this tunnel ID, if both ends of the session attach it.
fn joined_segment(view: View<'_>, session: SessionIndex, tunnel: u16) -> Option<(SegmentIndex, Rules)> {
    let tables = view.tables;
    let index = tables.by_tunnel.get(tunnel)?;
    let joined = tables.session(session)?.segments.contains(tunnel);
    joined.then_some((index, tables.segments.rules(index)?))
}

impl<P: BufPool> Engine<P> {
    /// Takes one packet of the uplink.
    pub(crate) fn receive<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        from: (PortIndex, &PortEntry, &UplinkEntry),
        mut buf: P::Buf,
    ) -> Received<P::Buf> {
        let (at, port, uplink) = from;
        let Ok(Some(udp)) = parse_udp(buf.data()) else {
            return Received::NoRecord(buf);
        };
        if udp.dst.port() != uplink.data_port || udp.dst_mac != port.mac {
            return Received::NoRecord(buf);
        }
        let from = Way { port: at.0, local: Some(udp.dst.ip()), peer: udp.src };
        let congested = uplink.ecn && mark::of_outer(buf.data()).is_congested();
        match self.open(view, &mut buf, udp.payload, (Some(&from), congested)) {
            Ok(Found::Record(record)) => {
                self.unpack(view, sink, &record, buf);
                Received::Taken
            }
            Ok(Found::OtherWorkers(owner)) => Received::OtherWorkers(owner, buf),
            Err(reason) => Received::Dropped(reason, buf),
        }
    }

    /// Takes one record that came over TLS.
    pub(crate) fn receive_over_tcp<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        mut buf: P::Buf,
    ) {
        let whole = 0..buf.len();
        match self.open(view, &mut buf, whole, (None, false)) {
            Ok(Found::Record(record)) => self.unpack(view, sink, &record, buf),
            // The control thread knows whose it is.
            Ok(Found::OtherWorkers(_)) => view.dropped(DropReason::NoSuchLane),
            Err(reason) => view.dropped(reason),
        }
    }

    /// Opens the record that lies at `at` in a packet; it came by a way and may have met congestion there.
    fn open<'a>(
        &mut self,
        view: View<'_>,
        buf: &mut P::Buf,
        at: Range<usize>,
        (from, congested): (Option<&'a Way>, bool),
    ) -> Result<Found<'a>, DropReason> {
        let datagram = &mut buf.data_mut()[at.clone()];
        let lane = header::lane_of(datagram).map_err(drop_reason)?;
        let owner = lane.owner(self.worker.count);
        if owner != self.worker.index {
            return Ok(Found::OtherWorkers(owner));
        }
        let entry = self.rx.lanes.get_mut(&lane).ok_or(DropReason::NoSuchLane)?;
        let octets = datagram.len();
        let opened = entry.lane.open(datagram).map_err(drop_reason)?;
        let start = at.start + record::HEADER_LEN;
        let record = Record {
            session: entry.session,
            path: entry.path,
            lane,
            number: opened.number,
            from,
            octets,
            congested,
            plaintext: start..start + opened.plaintext.len(),
        };
        if let Some(from) = from.filter(|from| opened.newest && entry.leads && moved(view, &record, from)) {
            let due = entry.address_reported.is_none_or(|last| view.now.0 >= last + ADDRESS_REPORT_INTERVAL);
            if due {
                entry.address_reported = Some(view.now.0);
                let Record { session, path, .. } = record;
                self.tell(view, Event::NewWay { session, path, from: *from });
            }
        }
        if let Some(counters) = view.counters.sessions.get(usize::from(record.session.0)) {
            counters.rx_records.add(1);
            counters.rx_record_octets.add(octets as u64);
        }
        if let Some(counters) = view.path_counters(record.session, record.path) {
            counters.rx_records.add(1);
        }
        Ok(Found::Record(record))
    }

    fn unpack<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        record: &Record<'_>,
        mut buf: P::Buf,
    ) {
        if record.congested {
            let frames = &mut buf.data_mut()[record.plaintext.clone()];
            block::each_beginning(frames, |frame| {
                mark::congest(frame.get_mut(ADDRESSES..).unwrap_or_default())
            });
        }
        let mut unpacked = Unpacked::default();
        if let Some(taps) = view.taps() {
            let opened = &buf.data()[record.plaintext.start - record::HEADER_LEN..record.plaintext.end];
            taps.opened(view.now.0, record.session, false, [opened, &[]]);
        }
        let plaintext = &buf.data()[record.plaintext.clone()];
        let mut whole: ArrayVec<Whole, AT_ONCE> = ArrayVec::new();
        for block in block::blocks(plaintext) {
            let Ok(block) = block else {
                view.dropped(DropReason::MalformedBlock);
                break;
            };
            let bytes = &plaintext[block.range.clone()];
            if block.tunnel == SESSION_TUNNEL {
                self.control_block(view, sink, record, bytes);
                continue;
            }
            if !(block.first && block.last) {
                self.whole_frames(view, sink, plaintext, whole.drain(..));
                self.piece(view, sink, record, &block, bytes, &mut unpacked);
                continue;
            }
            let Some(meta) = unpacked.accept(view, record.session, block.tunnel, bytes) else { continue };
            if meta.dst.is_loop_probe() {
                self.show(view, &meta, &bytes[ADDRESSES..], false);
                continue;
            }
            if whole.is_full() {
                self.whole_frames(view, sink, plaintext, whole.drain(..));
            }
            whole.push(Whole { meta, keys: Keys::touch(view, &meta), range: block.range });
        }
        // A whole frame at the end of the record keeps the record's own buffer: no copy.
        let last = if whole.last().is_some_and(|frame| frame.range.end == plaintext.len()) {
            whole.pop()
        } else {
            None
        };
        self.whole_frames(view, sink, plaintext, whole.drain(..));
        match last {
            Some(Whole { meta, keys, range }) => {
                buf.truncate(record.plaintext.start + range.end);
                buf.trim_front(record.plaintext.start + range.start + ADDRESSES);
                self.forward(view, sink, (&meta, keys), Body::Own(buf));
            }
            None => self.pool.recycle(buf),
        }
        unpacked.settle(view, record.session);
    }

    #[inline]
    fn whole_frames<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        plaintext: &[u8],
        frames: impl Iterator<Item = Whole>,
    ) {
        for Whole { meta, keys, range } in frames {
            let body = Body::InRecord(&plaintext[range.start + ADDRESSES..range.end]);
            self.forward(view, sink, (&meta, keys), body);
        }
    }

    fn piece<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        record: &Record<'_>,
        block: &block::Block,
        bytes: &[u8],
        unpacked: &mut Unpacked,
    ) {
        let Some(entry) = self.rx.lanes.get_mut(&record.lane) else {
            return;
        };
        let block::Block { first, last, tunnel, .. } = *block;
        let piece = Piece { number: record.number, first, last, tunnel, bytes };
        match entry.pieces.piece(piece, view.now.0, &mut self.pool) {
            Ok(Some(mut frame)) => {
                if let Some(meta) = unpacked.accept(view, record.session, tunnel, frame.data()) {
                    frame.trim_front(ADDRESSES);
                    if meta.dst.is_loop_probe() {
                        self.show(view, &meta, frame.data(), false);
                        return self.pool.recycle(frame);
                    }
                    let keys = Keys::touch(view, &meta);
                    self.forward(view, sink, (&meta, keys), Body::Own(frame));
                }
            }
            Ok(None) => {}
            Err(GaveUp) => view.dropped(DropReason::ReassemblyGaveUp),
        }
    }

    /// A block of the session's own: the control thread's, but for padding, which is counted here, and echo requests that measure,
    /// which are answered here.
    fn control_block<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        record: &Record<'_>,
        bytes: &[u8],
    ) {
        let Record { session, path, from, octets, .. } = *record;
        match bytes {
            [PADDING, ..] => {
                if let Some(counters) = view.counters.sessions.get(usize::from(session.0)) {
                    counters.rx_padding_records.add(1);
                    counters.rx_padding_octets.add(octets as u64);
                }
                return;
            }
            [ECHO_REQUEST, rest @ ..]
                if measures(rest) && from.is_none_or(|from| !moved(view, record, from)) =>
            {
                let mut reply = ControlBlock::new();
                reply.push(ECHO_REPLY);
                reply.extend(rest.iter().copied().take(MAX_CONTROL_BLOCK - 1));
                return self.send_control(view, sink, (session, path), None, (&reply, 0));
            }
            _ => {}
        }
        let block: ControlBlock = bytes.iter().copied().take(MAX_CONTROL_BLOCK).collect();
        self.tell(
            view,
            Event::Control {
                session,
                path,
                from: from.copied(),
                octets: octets as u16,
                block,
                at: view.now.0,
            },
        );
    }
}

/// Whether an echo request, given from its token on, measures: who can answers it without delay.
fn measures(request: &[u8]) -> bool {
    request.get(8).is_some_and(|flags| flags & MEASURES != 0)
}

/// Whether a record came by another way than its path's.
fn moved(view: View<'_>, record: &Record<'_>, from: &Way) -> bool {
    let path = view.tables.session(record.session).and_then(|entry| entry.path(record.path));
    path.is_none_or(|path| !path.way.is_some_and(|way| way.is_way_of(from)))
}

fn drop_reason(error: OpenError) -> DropReason {
    match error {
        OpenError::TooShort => DropReason::RecordShort,
        OpenError::UnknownType => DropReason::RecordType,
        OpenError::Replayed => DropReason::Replayed,
        OpenError::TooOld => DropReason::TooOld,
        OpenError::WrongPhase => DropReason::WrongPhase,
        OpenError::NotAuthentic => DropReason::NotAuthentic,
    }
}
