//! The send stage: packs frames into the open record of their session, seals records in place and
//! puts the outer headers in front (protocol sections 3 and 4).
//!
//! A record stays open until it is full or the burst ends. A frame that does not fit goes on in
//! the next record, so every record of a busy burst but the last has the full size.

use bridge::{Checks, Flooded, SessionIndex};
use counters::DropReason;
use record::block::BlockWriter;
use record::{HEADER_LEN, OVERHEAD, TAG_LEN, TxLane};
use wire::buf::{BufPool, PacketBuf};

use crate::frame::{ADDRESSES, Meta};
use crate::tables::Path;
use crate::{Engine, Sink, View};

/// Tunnel ID of the session's own blocks (protocol 4.3).
pub(crate) const SESSION_TUNNEL: u16 = 0;

/// The send lanes of one worker, by session, with their open records.
pub(crate) struct TxSessions<B> {
    sessions: Vec<Option<TxSession<B>>>,
    /// Sessions that may have an open record, each once: it never grows beyond its capacity.
    open: Vec<SessionIndex>,
}

struct TxSession<B> {
    lane: Box<TxLane>,
    open: Option<OpenRecord<B>>,
    /// Whether the session stands in [`TxSessions::open`].
    listed: bool,
}

struct OpenRecord<B> {
    buf: B,
    blocks: BlockWriter,
    packed: Packed,
}

/// Frames that have ended in a record, to be counted with it.
#[derive(Default)]
struct Packed {
    frames: u64,
    octets: u64,
    /// Flooded frames by kind.
    flooded: [u64; 3],
}

impl<B> TxSessions<B> {
    pub(crate) fn new(max_sessions: usize) -> Self {
        Self { sessions: (0..max_sessions).map(|_| None).collect(), open: Vec::with_capacity(max_sessions) }
    }

    /// Puts `lane` in the place of the session's lane and returns the old one, or `lane` itself when
    /// there is no such session.
    pub(crate) fn install(&mut self, session: SessionIndex, lane: Box<TxLane>) -> Option<Box<TxLane>> {
        match self.sessions.get_mut(usize::from(session.0)) {
            Some(slot) => slot.replace(TxSession { lane, open: None, listed: false }).map(|old| old.lane),
            None => Some(lane),
        }
    }

    pub(crate) fn remove(&mut self, session: SessionIndex) -> Option<Box<TxLane>> {
        let slot = self.sessions.get_mut(usize::from(session.0))?;
        slot.take().map(|old| old.lane)
    }

    fn get(&mut self, session: SessionIndex) -> Option<&mut TxSession<B>> {
        self.sessions.get_mut(usize::from(session.0))?.as_mut()
    }
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
        let Some(path) = &entry.path else {
            return not_sent(view, session, meta, rest, DropReason::NoPeerAddress);
        };
        let frame = (&meta.addresses(), rest);
        match self.pack_blocks(view, sink, session, path, segment.tunnel_id.get(), frame) {
            Ok(packed) => {
                packed.frames += 1;
                packed.octets += (ADDRESSES + rest.len()) as u64;
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
        session: SessionIndex,
        path: Option<&Path>,
        block: &[u8],
    ) {
        let own = || view.tables.session(session).and_then(|entry| entry.path.as_ref());
        let Some(path) = path.or_else(own) else {
            return view.dropped(DropReason::NoPeerAddress);
        };
        self.close_record(view, sink, session);
        if let Err(reason) = self.pack_blocks(view, sink, session, path, SESSION_TUNNEL, (&[], block)) {
            view.dropped(reason);
        }
        self.close_record_on(view, sink, session, path);
    }

    /// Seals and sends every open record.
    pub(crate) fn flush_records<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S) {
        while let Some(session) = self.tx.open.pop() {
            if let Some(tx) = self.tx.get(session) {
                tx.listed = false;
            }
            self.close_record(view, sink, session);
        }
    }

    /// Packs a frame, which is two pieces behind each other. Returns where it is counted: in the record that it ends in.
    #[inline]
    fn pack_blocks<S: Sink<P::Buf>, const HEAD: usize>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        session: SessionIndex,
        path: &Path,
        tunnel: u16,
        frame: (&[u8; HEAD], &[u8]),
    ) -> Result<&mut Packed, DropReason> {
        let len = HEAD + frame.1.len();
        let mut taken = 0;
        loop {
            let open = self.open_record(session, path)?;
            let fresh = open.blocks.is_empty();
            let n = open.blocks.push(&mut open.buf.data_mut()[HEADER_LEN..], tunnel, frame, taken);
            if n == 0 && fresh {
                return Err(DropReason::PathTooSmall);
            }
            taken += n;
            if taken == len {
                // Found a moment ago: the borrow of a value that is returned in one branch only lasts too long.
                return Ok(&mut self.open_record(session, path)?.packed);
            }
            self.close_record_on(view, sink, session, path);
        }
    }

    /// The session's open record, a new one if there is none.
    #[inline]
    fn open_record(
        &mut self,
        session: SessionIndex,
        path: &Path,
    ) -> Result<&mut OpenRecord<P::Buf>, DropReason> {
        let TxSessions { sessions, open: listed } = &mut self.tx;
        let tx = sessions.get_mut(usize::from(session.0)).and_then(Option::as_mut);
        let tx = tx.ok_or(DropReason::NoTxLane)?;
        if !tx.listed {
            tx.listed = true;
            listed.push(session);
        }
        match &mut tx.open {
            Some(open) => Ok(open),
            slot @ None => {
                let mut buf = self.pool.alloc().ok_or(DropReason::NoBuffer)?;
                let capacity = usize::from(path.max_record).saturating_sub(OVERHEAD);
                buf.append(HEADER_LEN + capacity).ok_or(DropReason::NoBuffer)?;
                Ok(slot.insert(OpenRecord { buf, blocks: BlockWriter::new(), packed: Packed::default() }))
            }
        }
    }

    /// Shows the records among a burst of an uplink to those who capture them, before they are opened in place.
    #[cold]
    pub(crate) fn tap_records(&self, view: View<'_>, burst: &[P::Buf]) {
        let Some(taps) = &view.tables.taps else { return };
        for buf in burst {
            if let Some(session) = self.rx.session_of(buf.data()) {
                taps.outside(view.now.0, session, false, buf.data());
            }
        }
    }

    fn close_record<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S, session: SessionIndex) {
        match view.tables.session(session).and_then(|entry| entry.path.as_ref()) {
            Some(path) => self.close_record_on(view, sink, session, path),
            None => {
                if self.tx.get(session).and_then(|tx| tx.open.take()).is_some() {
                    view.dropped(DropReason::NoPeerAddress);
                }
            }
        }
    }

    fn close_record_on<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        session: SessionIndex,
        path: &Path,
    ) {
        let Some(tx) = self.tx.get(session) else {
            return;
        };
        let Some(OpenRecord { mut buf, blocks, packed }) = tx.open.take() else {
            return;
        };
        buf.truncate(HEADER_LEN + blocks.len());
        if buf.append(TAG_LEN).is_none() {
            return view.dropped(DropReason::NoBuffer);
        }
        if view.tables.taps.is_some() {
            opened(view, session, &tx.lane, &buf.data()[HEADER_LEN..][..blocks.len()]);
        }
        if tx.lane.seal(buf.data_mut(), view.now.0).is_err() {
            return view.dropped(DropReason::LaneExhausted);
        }
        let own = if path.port_per_worker { self.worker.index as u16 } else { 0 };
        let source_port = path.header.src().port().wrapping_add(own);
        if !path.header.write(&mut buf, source_port) {
            return view.dropped(DropReason::NoBuffer);
        }
        if let Some(counters) = view.counters.sessions.get(usize::from(session.0)) {
            counters.tx_records.add(1);
            counters.tx_frames.add(packed.frames);
            counters.tx_octets.add(packed.octets);
            let [broadcast, multicast, unknown] = packed.flooded;
            counters.tx_bum.add(broadcast + multicast + unknown);
            counters.tx_broadcast.add(broadcast);
            counters.tx_unknown_unicast.add(unknown);
        }
        if let Some(taps) = &view.tables.taps {
            taps.outside(view.now.0, session, true, buf.data());
        }
        sink.send(path.port, buf);
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

/// Shows a frame that is sent into a session to those who capture them.
#[cold]
fn watched(view: View<'_>, session: SessionIndex, meta: &Meta, rest: &[u8]) {
    if let Some(taps) = &view.tables.taps {
        taps.crossed(view.now.0, meta.segment, session, [&meta.addresses(), rest]);
    }
}

/// Shows a record that is about to be sealed to those who capture them.
#[cold]
fn opened(view: View<'_>, session: SessionIndex, lane: &TxLane, blocks: &[u8]) {
    if let Some(taps) = &view.tables.taps {
        taps.opened(view.now.0, session, true, [&lane.next_header(), blocks]);
    }
}
