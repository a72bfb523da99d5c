//! The send stage: packs frames into the open record of their session, seals records in place and
//! puts the outer headers in front (protocol sections 3 and 4).
//!
//! A record stays open until it is full or the burst ends. A frame that does not fit goes on in
//! the next record, so every record of a busy burst but the last has the full size.

use arrayvec::ArrayVec;
use bridge::{Checks, Flooded, SessionIndex};
use counters::DropReason;
use record::block::{self, BLOCK_HEADER_LEN, BlockWriter};
use record::{HEADER_LEN, OVERHEAD, TAG_LEN, TxLane};
use wire::buf::{BufPool, PacketBuf};
use wire::ethernet;
use wire::flow;
use wire::mark::Mark;
use wire::way::ALL_PATHS;

use crate::frame::{ADDRESSES, Meta};
use crate::tables::Path;
use crate::{Engine, Sink, View};

/// Tunnel ID of the session's own blocks (protocol 4.3).
pub(crate) const SESSION_TUNNEL: u16 = 0;

/// The send lanes of one worker, by session and path, with their open records.
pub(crate) struct TxLanes<B> {
    /// The first path of each session, then the second of each: most sessions have one, and those lie close together.
    lanes: Vec<Option<Tx<B>>>,
    sessions: usize,
    /// Lanes that may have an open record, each once: it never grows beyond its capacity.
    open: Vec<At>,
}

/// A path of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    session: SessionIndex,
    path: usize,
}

struct Tx<B> {
    lane: Box<TxLane>,
    open: Option<OpenRecord<B>>,
    /// Whether the lane stands in [`TxLanes::open`].
    listed: bool,
    /// The mark of its records, where that depends on what is in them.
    mark: Mark,
}

struct OpenRecord<B> {
    buf: B,
    blocks: BlockWriter,
    packed: Packed,
}

/// Frames that have ended in a record, to be counted with it.
#[derive(Default)]
struct Packed {
    frames: u32,
    octets: u32,
    /// Flooded frames by kind.
    flooded: [u32; 3],
}

impl<B> TxLanes<B> {
    pub(crate) fn new(max_sessions: usize) -> Self {
        let lanes = max_sessions * ALL_PATHS;
        Self {
            lanes: (0..lanes).map(|_| None).collect(),
            sessions: max_sessions,
            open: Vec::with_capacity(lanes),
        }
    }

    #[inline]
    fn slot(&mut self, at: At) -> Option<&mut Option<Tx<B>>> {
        slot(&mut self.lanes, self.sessions, at)
    }

    /// Puts `lane` in the place of the path's lane and returns the old one, or `lane` itself when
    /// there is no such session.
    pub(crate) fn install(
        &mut self,
        session: SessionIndex,
        path: usize,
        lane: Box<TxLane>,
    ) -> Option<Box<TxLane>> {
        match self.slot(At { session, path }) {
            Some(slot) => slot
                .replace(Tx { lane, open: None, listed: false, mark: Mark::default() })
                .map(|old| old.lane),
            None => Some(lane),
        }
    }

    /// Takes all lanes of a session out.
    pub(crate) fn remove(&mut self, session: SessionIndex) -> ArrayVec<Box<TxLane>, ALL_PATHS> {
        let paths = (0..ALL_PATHS).map(|path| At { session, path });
        paths.filter_map(|at| self.slot(at)?.take()).map(|old| old.lane).collect()
    }

    fn get(&mut self, at: At) -> Option<&mut Tx<B>> {
        self.slot(at)?.as_mut()
    }
}

/// The place of a path's lane among those of so many sessions.
#[inline]
fn slot<B>(
    lanes: &mut [Option<Tx<B>>],
    sessions: usize,
    At { session, path }: At,
) -> Option<&mut Option<Tx<B>>> {
    let session = usize::from(session.0);
    lanes.get_mut(path * sessions + session).filter(|_| session < sessions)
}

impl<P: BufPool> Engine<P> {
    /// Adds a frame, given from its EtherType on, to the session's record.
    #[inline]
    pub(crate) fn pack<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        session: SessionIndex,
        meta: &Meta,
        rest: &[u8],
        flooded: Option<Flooded>,
    ) {
        let tables = view.tables;
        let Some((entry, segment)) = tables.session(session).zip(tables.segments.get(meta.segment)) else {
            return not_sent(view, session, meta, rest, DropReason::SessionDown);
        };
        let path = entry.spread.one();
        let path = path.unwrap_or_else(|| entry.spread.path(flow::hash(meta.dst, meta.src, rest)));
        let at = At { session, path };
        let Some(path) = entry.path(at.path).and_then(|path| path.path.as_ref()) else {
            return not_sent(view, session, meta, rest, DropReason::NoPeerAddress);
        };
        if path.marks.any() {
            self.turn_to(view, sink, at, path, path.marks.of(rest));
        }
        let frame = (&meta.addresses(), rest);
        match self.pack_blocks(view, sink, at, path, segment.tunnel_id.get(), frame) {
            Ok(packed) => {
                packed.frames += 1;
                packed.octets += (ADDRESSES + rest.len()) as u32;
                if let Some(kind) = flooded {
                    packed.flooded[kind as usize] += 1;
                }
                self.tally.sent(view, meta, ADDRESSES + rest.len());
                if meta.checks.any(Checks::WATCHED) {
                    watched(view, session, meta, rest);
                }
            }
            Err(reason) => not_sent(view, session, meta, rest, reason),
        }
    }

    /// Sends a block of the session's own at once, in a record of its own.
    pub(crate) fn send_control<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        (session, path): (SessionIndex, usize),
        to: Option<&Path>,
        (block, record): (&[u8], u16),
    ) {
        let at = At { session, path };
        let Some(path) = to.or_else(|| path_of(view, at)) else {
            return view.dropped(DropReason::NoPeerAddress);
        };
        self.close_record(view, sink, at);
        if let Some(tx) = self.tx.get(at) {
            tx.mark = Mark::dscp(path.marks.dscp);
        }
        let sent = if record > 0 {
            self.pad_block(at, block, record)
        } else {
            self.pack_blocks(view, sink, at, path, SESSION_TUNNEL, (&[], block)).map(|_| ())
        };
        if let Err(reason) = sent {
            view.dropped(reason);
        }
        self.close_record_on(view, sink, at, path);
    }

    /// Records have this mark from now on: one that is open and has another is sent.
    #[inline(never)]
    fn turn_to<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S, at: At, path: &Path, mark: Mark) {
        let Some(tx) = self.tx.get(at) else { return };
        if tx.mark != mark {
            if tx.open.is_some() {
                self.close_record_on(view, sink, at, path);
            }
            if let Some(tx) = self.tx.get(at) {
                tx.mark = mark;
            }
        }
    }

    /// Opens a record of so many octets with one block, filled up with zeros.
    fn pad_block(&mut self, at: At, block: &[u8], record: u16) -> Result<(), DropReason> {
        let room = usize::from(record).saturating_sub(OVERHEAD);
        let open = self.open_record(at, room)?;
        let area = &mut open.buf.data_mut()[HEADER_LEN..];
        let len = room.saturating_sub(BLOCK_HEADER_LEN);
        if len < block.len() {
            return Err(DropReason::PathTooSmall);
        }
        area[BLOCK_HEADER_LEN..].fill(0);
        area[BLOCK_HEADER_LEN..][..block.len()].copy_from_slice(block);
        open.blocks.whole(area, SESSION_TUNNEL, len);
        Ok(())
    }

    /// Seals and sends every open record.
    pub(crate) fn flush_records<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S) {
        while let Some(at) = self.tx.open.pop() {
            if let Some(tx) = self.tx.get(at) {
                tx.listed = false;
            }
            self.close_record(view, sink, at);
        }
    }

    /// Packs a frame, which is two pieces behind each other. Returns where it is counted: in the record that it ends in.
    #[inline]
    fn pack_blocks<S: Sink<P::Buf>, const HEAD: usize>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        at: At,
        path: &Path,
        tunnel: u16,
        frame: (&[u8; HEAD], &[u8]),
    ) -> Result<&mut Packed, DropReason> {
        let len = HEAD + frame.1.len();
        let mut taken = 0;
        loop {
            let open = self.open_record(at, path.room())?;
            let fresh = open.blocks.is_empty();
            let n = open.blocks.push(&mut open.buf.data_mut()[HEADER_LEN..], tunnel, frame, taken);
            if n == 0 && fresh {
                return Err(DropReason::PathTooSmall);
            }
            taken += n;
            if taken == len {
                // Found a moment ago: the borrow of a value that is returned in one branch only lasts too long.
                return Ok(&mut self.open_record(at, path.room())?.packed);
            }
            self.close_record_on(view, sink, at, path);
        }
    }

    /// The path's open record; if there is none a new one with room for so many octets of blocks.
    #[inline]
    fn open_record(&mut self, at: At, room: usize) -> Result<&mut OpenRecord<P::Buf>, DropReason> {
        let TxLanes { lanes, sessions, open: listed } = &mut self.tx;
        let tx = slot(lanes, *sessions, at).and_then(Option::as_mut).ok_or(DropReason::NoTxLane)?;
        if !tx.listed {
            tx.listed = true;
            listed.push(at);
        }
        match &mut tx.open {
            Some(open) => Ok(open),
            slot @ None => {
                let mut buf = self.pool.alloc().ok_or(DropReason::NoBuffer)?;
                buf.append(HEADER_LEN + room).ok_or(DropReason::NoBuffer)?;
                Ok(slot.insert(OpenRecord { buf, blocks: BlockWriter::new(), packed: Packed::default() }))
            }
        }
    }

    /// Shows the records among a burst of an uplink to those who capture them, before they are opened in place.
    #[cold]
    pub(crate) fn tap_records(&self, view: View<'_>, burst: &[P::Buf]) {
        let Some(taps) = view.taps() else { return };
        for buf in burst {
            if let Some(session) = self.rx.session_of(buf.data()) {
                taps.outside(view.now.0, session, false, buf.data());
            }
        }
    }

    fn close_record<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S, at: At) {
        match path_of(view, at) {
            Some(path) => self.close_record_on(view, sink, at, path),
            None => {
                if let Some(open) = self.tx.get(at).and_then(|tx| tx.open.take()) {
                    given_up(view, at.session, &open.packed, DropReason::NoPeerAddress);
                }
            }
        }
    }

    fn close_record_on<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S, at: At, path: &Path) {
        let Some(tx) = self.tx.get(at) else {
            return;
        };
        let Some(OpenRecord { mut buf, blocks, packed }) = tx.open.take() else {
            return;
        };
        buf.truncate(HEADER_LEN + blocks.len());
        if buf.append(TAG_LEN).is_none() {
            return given_up(view, at.session, &packed, DropReason::NoBuffer);
        }
        if view.taps().is_some() {
            opened(view, at.session, &tx.lane, &buf.data()[HEADER_LEN..][..blocks.len()]);
        }
        // A mark of congestion on a record in which no frame begins would be lost.
        let begins = path.marks.ecn && block::begins(&buf.data()[HEADER_LEN..][..blocks.len()]);
        if tx.lane.seal(buf.data_mut(), view.now.0).is_err() {
            return given_up(view, at.session, &packed, DropReason::LaneExhausted);
        }
        let mark = path.marks.any().then(|| if begins { tx.mark } else { tx.mark.without_ecn() });
        if let Some(header) = &path.header {
            let own = if path.port_per_worker { self.worker.index as u16 } else { 0 };
            let source_port = header.src().port().wrapping_add(own);
            if !header.write(&mut buf, source_port) {
                return given_up(view, at.session, &packed, DropReason::NoBuffer);
            }
            if let Some(mark) = mark {
                mark.write(buf.data_mut(), ethernet::HEADER_LEN, header.src().is_ipv4());
            }
        }
        if let Some(counters) = view.path_counters(at.session, at.path) {
            counters.tx_records.add(1);
        }
        if let Some(counters) = view.counters.sessions.get(usize::from(at.session.0)) {
            counters.tx_records.add(1);
            counters.tx_frames.add(packed.frames.into());
            counters.tx_octets.add(packed.octets.into());
            if packed.flooded != [0; 3] {
                let [broadcast, multicast, unknown] = packed.flooded.map(u64::from);
                counters.tx_bum.add(broadcast + multicast + unknown);
                counters.tx_broadcast.add(broadcast);
                counters.tx_unknown_unicast.add(unknown);
            }
        }
        if let (Some(taps), Some(_)) = (view.taps(), &path.header) {
            taps.outside(view.now.0, at.session, true, buf.data());
        }
        match path.header {
            Some(_) => sink.send_record(path.port, buf, at.session, packed.frames),
            None => sink.over_tcp(at.session, buf),
        }
    }
}

/// A frame could not be sent into a session.
#[cold]
fn not_sent(view: View<'_>, session: SessionIndex, meta: &Meta, rest: &[u8], reason: DropReason) {
    if let Some(counters) = view.counters.sessions.get(usize::from(session.0)) {
        counters.tx_dropped.add(1);
    }
    view.dropped_in(meta.segment, reason);
    view.lost(reason, meta.place(), [&meta.addresses(), rest]);
}

/// A record is not sent: each frame that ends in it is lost, or what it has else.
#[cold]
fn given_up(view: View<'_>, session: SessionIndex, packed: &Packed, reason: DropReason) {
    view.counters.drops.add(reason, packed.frames.max(1).into());
    if let Some(counters) = view.counters.sessions.get(usize::from(session.0)) {
        counters.tx_dropped.add(packed.frames.into());
    }
}

/// Shows a frame that is sent into a session to those who capture them.
#[cold]
fn watched(view: View<'_>, session: SessionIndex, meta: &Meta, rest: &[u8]) {
    if let Some(taps) = view.taps() {
        taps.crossed(view.now.0, meta.segment, session, [&meta.addresses(), rest]);
    }
}

/// Shows a record that is about to be sealed to those who capture them.
#[cold]
fn opened(view: View<'_>, session: SessionIndex, lane: &TxLane, blocks: &[u8]) {
    if let Some(taps) = view.taps() {
        taps.opened(view.now.0, session, true, [&lane.next_header(), blocks]);
    }
}

/// Where a path leads.
#[inline]
fn path_of(view: View<'_>, at: At) -> Option<&Path> {
    view.tables.session(at.session)?.path(at.path)?.path.as_ref()
}

impl Path {
    /// Octets of blocks that a record has room for.
    fn room(&self) -> usize {
        usize::from(self.max_record).saturating_sub(OVERHEAD)
    }
}
