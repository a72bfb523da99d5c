//! One worker core's share of the data path.

use std::time::Duration;

use arrayvec::ArrayVec;
use bridge::{Endpoint, Fdb, Rules, SegmentIndex, SessionIndex};
use counters::{CoreCounters, DropReason, PathCounters};
use crossbeam::channel::{Sender, TrySendError};
use wire::buf::{BufPool, PacketBuf, Stash};

use crate::capture::{Place, Taps};
use crate::checksums;
use crate::classify::{self, Classified};
use crate::command::{Command, Event};
use crate::forward::{Keys, places};
use crate::frame::{Body, Meta, copy_of};
use crate::notice::{Notice, OwnFrame, Target};
use crate::receive::{Received, RxLanes};
use crate::recent::Recent;
use crate::send::TxLanes;
use crate::tables::{PortEntry, PortIndex, PortRole, Tables, TrunkEntry};
use crate::tally::Tally;

/// Most packets that one poll of a queue takes.
pub const BURST: usize = 64;

/// How often [`Engine::housekeeping`] wants to be called.
pub const HOUSEKEEPING: Duration = Duration::from_millis(100);

/// Where packets leave the data path. A sink never blocks: what a port does not take is dropped
/// and counted there.
pub trait Sink<B> {
    /// Sends `buf` on `port`.
    fn send(&mut self, port: PortIndex, buf: B);

    /// Sends a record of a session on `port`, in which so many frames end. A sink that counts drops counts them for the session too.
    fn send_record(&mut self, port: PortIndex, buf: B, session: SessionIndex, frames: u32) {
        let _ = (session, frames);
        self.send(port, buf);
    }

    /// Gives `buf`, which `port` received, to the worker that owns its lane. What that does not take is dropped and counted here.
    fn hand_over(&mut self, worker: usize, port: PortIndex, buf: B);

    /// Gives a record to the control thread, which sends it over the session's TLS connection. What it does not take is dropped and
    /// counted here.
    fn over_tcp(&mut self, session: SessionIndex, buf: B);
}

/// Which of an appliance's workers an engine is, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId {
    /// Counted from 0.
    pub index: usize,
    /// At least 1.
    pub count: usize,
}

impl WorkerId {
    /// The only one.
    pub const ALONE: Self = Self { index: 0, count: 1 };
}

/// The time of a burst.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now(pub Duration);

impl Now {
    /// Seconds since start, as the FDB counts them.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0.as_secs()).unwrap_or(u32::MAX)
    }
}

/// What a burst is processed against: shared, never written by a stage but for counters and the FDB.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The snapshot in force.
    pub tables: &'a Tables,
    /// The forwarding database.
    pub fdb: &'a Fdb,
    /// This core's counters.
    pub counters: &'a CoreCounters,
    /// The time.
    pub now: Now,
    /// Whether this only finds out what would happen: nobody who captures sees it, and no budget is spent.
    pub dry: bool,
}

impl View<'_> {
    /// Counts one dropped packet.
    pub(crate) fn dropped(&self, reason: DropReason) {
        self.counters.drops.add(reason, 1);
    }

    /// The counters of a session's path.
    pub(crate) fn path_counters(&self, session: SessionIndex, path: usize) -> Option<&PathCounters> {
        self.counters.path(usize::from(session.0), path)
    }

    /// Counts a dropped packet for its segment as well.
    pub(crate) fn dropped_in(&self, segment: SegmentIndex, reason: DropReason) {
        if let Some(counters) = self.counters.segments.get(usize::from(segment.0)) {
            counters.drops.add(reason, 1);
        }
    }

    /// Counts a dropped packet that belongs to a segment.
    pub(crate) fn dropped_of(&self, segment: SegmentIndex, reason: DropReason) {
        self.dropped(reason);
        self.dropped_in(segment, reason);
    }

    /// Who captures, if anybody does.
    #[inline]
    pub fn taps(&self) -> Option<&Taps> {
        self.tables.taps.as_ref().filter(|_| !self.dry)
    }
}

/// The state that one worker owns alone: its buffers, lanes and unfinished records.
pub struct Engine<P: BufPool> {
    pub(crate) worker: WorkerId,
    pub(crate) pool: Stash<P>,
    pub(crate) recent: Recent,
    pub(crate) tally: Tally,
    pub(crate) tx: TxLanes<P::Buf>,
    pub(crate) rx: RxLanes<P::Buf>,
    events: Sender<Event>,
    pub(crate) notices: Sender<Notice>,
    /// Whether the next frame with a checksum is to be looked at.
    sample_checksums: bool,
}

impl<P: BufPool> Engine<P> {
    /// The engine of worker `worker` for at most `max_sessions` sessions, taking its buffers from `pool` and telling the
    /// control thread through `events`, and of the traffic through `notices`.
    pub fn new(
        pool: P,
        worker: WorkerId,
        max_sessions: usize,
        events: Sender<Event>,
        notices: Sender<Notice>,
    ) -> Self {
        Self {
            worker,
            pool: Stash::new(pool),
            recent: Recent::default(),
            tally: Tally::default(),
            tx: TxLanes::new(max_sessions),
            rx: RxLanes::new(max_sessions),
            events,
            notices,
            sample_checksums: false,
        }
    }

    /// Processes a burst that `port` received and leaves `burst` empty. Records are sent when they
    /// are full; [`Engine::finish`] sends the rest.
    pub fn burst<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        port: PortIndex,
        burst: &mut ArrayVec<P::Buf, BURST>,
    ) {
        let Some(entry) = view.tables.ports.get(port.index()) else {
            view.counters.drops.add(DropReason::NoDestination, burst.len() as u64);
            burst.clear();
            return;
        };
        match &entry.role {
            PortRole::Trunk(trunk) => self.trunk_burst(view, sink, (port, entry, trunk), burst),
            PortRole::Uplink(uplink) => {
                if view.taps().is_some_and(Taps::want_records) {
                    self.tap_records(view, burst);
                }
                for buf in burst.drain(..) {
                    match self.receive(view, sink, (port, entry, uplink), buf) {
                        Received::Taken => {}
                        Received::Dropped(reason, buf) => {
                            view.lost(reason, Place::on(port, false), [buf.data(), &[]]);
                            self.pool.recycle(buf);
                        }
                        Received::NoRecord(buf) => to_kernel(view, sink, port, buf),
                        Received::OtherWorkers(owner, buf) => sink.hand_over(owner, port, buf),
                    }
                }
            }
            PortRole::Host(companion) => {
                for buf in burst.drain(..) {
                    sink.send(*companion, buf);
                }
            }
        }
        self.tally.settle(view);
        self.recent.forget();
        self.pool.tidy();
    }

    /// Processes records that came over TLS, and leaves `burst` empty.
    pub fn burst_over_tcp<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        burst: &mut ArrayVec<P::Buf, BURST>,
    ) {
        for buf in burst.drain(..) {
            self.receive_over_tcp(view, sink, buf);
        }
        self.tally.settle(view);
        self.recent.forget();
        self.pool.tidy();
    }

    fn trunk_burst<S: Sink<P::Buf>>(
        &mut self,
        view: View<'_>,
        sink: &mut S,
        (port, entry, trunk): (PortIndex, &PortEntry, &TrunkEntry),
        burst: &mut ArrayVec<P::Buf, BURST>,
    ) {
        // First pass: classify the whole burst and start the FDB's cache misses.
        let mut arrived: ArrayVec<(Meta, Keys, P::Buf), BURST> = ArrayVec::new();
        for buf in burst.drain(..) {
            match classify::classify(view, entry, trunk, buf) {
                Classified::Frame(meta, buf) => arrived.push((meta, Keys::touch(view, &meta), buf)),
                Classified::Kernel(buf) => to_kernel(view, sink, port, buf),
                Classified::Probe(meta, buf) => {
                    self.show(view, &meta, buf.data(), false);
                    self.pool.recycle(buf);
                }
                Classified::Drop(reason, buf) => {
                    view.lost(reason, Place::on(port, false), [buf.data(), &[]]);
                    self.pool.recycle(buf);
                }
                Classified::UnknownVtep(buf, address) => {
                    self.tell(view, Event::NewVtep { port, address });
                    view.lost(DropReason::VxlanUnknownVtep, Place::on(port, false), [buf.data(), &[]]);
                    self.pool.recycle(buf);
                }
            }
        }
        if self.sample_checksums {
            self.sample_checksums =
                !arrived.iter().any(|(meta, _, buf)| checksums::sample(view, meta, buf.data()));
        }
        for (meta, keys, buf) in arrived {
            self.forward(view, sink, (&meta, keys), Body::Own(buf));
        }
    }

    /// Ends a burst: seals and sends every record that is still open, so that none waits for more
    /// traffic.
    pub fn finish<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S) {
        self.flush_records(view, sink);
    }

    /// Carries out one order of the control thread.
    pub fn command<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S, command: Command) {
        match command {
            Command::InstallRx { session, path, leads, lane } => {
                let id = lane.id();
                if let Some(old) = self.rx.install((session, path), leads, lane) {
                    self.tell(view, Event::RetiredRx(old));
                }
                self.tell(view, Event::RxInstalled { session, lane: id });
            }
            Command::RemoveRx(id) => {
                if let Some(old) = self.rx.remove(id) {
                    self.tell(view, Event::RetiredRx(old));
                }
            }
            Command::InstallTx { session, path, lane } => {
                self.flush_records(view, sink);
                if let Some(old) = self.tx.install(session, path, lane) {
                    self.tell(view, Event::RetiredTx(old));
                }
            }
            Command::RemoveTx(session) => {
                self.flush_records(view, sink);
                for old in self.tx.remove(session) {
                    self.tell(view, Event::RetiredTx(old));
                }
            }
            Command::SendControl { session, path, to, block, record } => {
                self.send_control(view, sink, (session, path), to.as_deref(), (&block, record));
                if let Some(path) = to {
                    self.tell(view, Event::RetiredPath(path));
                }
            }
            Command::SendFrame(frame) => {
                self.send_own(view, sink, &frame);
                self.tell(view, Event::RetiredFrame(frame));
            }
        }
    }

    /// Sends a frame of the control thread.
    fn send_own<S: Sink<P::Buf>>(&mut self, view: View<'_>, sink: &mut S, frame: &OwnFrame) {
        let segment = frame.segment;
        let Some(Rules { checks, .. }) = view.tables.segments.rules(segment) else {
            return view.dropped(DropReason::NoDestination);
        };
        let (Target::Endpoint(at) | Target::From(at)) = frame.to;
        let meta = Meta { segment, from: at.into(), dst: frame.dst.into(), src: frame.src.into(), checks };
        if let Target::Endpoint(Endpoint::Session(session)) = frame.to {
            return self.pack(view, sink, session, &meta, &frame.rest, None);
        }
        let Some(buf) = copy_of(&mut self.pool, &frame.rest) else {
            return view.dropped_of(segment, DropReason::NoBuffer);
        };
        let body = Body::Own(buf);
        match frame.to {
            Target::From(_) => self.deliver(view, sink, (&meta, Keys::touch(view, &meta)), body),
            Target::Endpoint(Endpoint::Vtep(attachment, remote)) => {
                self.copy_to(view, sink, &meta, std::iter::once((attachment, Some(remote))), body);
            }
            Target::Endpoint(Endpoint::Attachment(attachment)) => {
                self.copy_to(view, sink, &meta, places(view.tables, attachment), body);
            }
            Target::Endpoint(Endpoint::Session(_)) => self.recycle(body),
        }
    }

    /// Gives up what has waited too long; to be called every [`HOUSEKEEPING`] or so.
    pub fn housekeeping(&mut self, view: View<'_>) {
        self.sample_checksums = true;
        let given_up = self.rx.expire(view.now.0);
        view.counters.drops.add(DropReason::ReassemblyGaveUp, given_up as u64);
    }

    /// Where this engine takes its buffers from, to allocate from for a test.
    pub fn pool(&mut self) -> &mut Stash<P> {
        &mut self.pool
    }

    pub(crate) fn tell(&self, view: View<'_>, event: Event) {
        if let Err(TrySendError::Full(_)) = self.events.try_send(event) {
            view.dropped(DropReason::EventQueueFull);
        }
    }
}

/// Hands `buf` to the kernel's companion of `port`. Without one the kernel has its own copy already.
fn to_kernel<B: PacketBuf, S: Sink<B>>(view: View<'_>, sink: &mut S, port: PortIndex, buf: B) {
    let Some(entry) = view.tables.ports.get(port.index()) else {
        return;
    };
    if let Some(counters) = view.counters.ports.get(port.index()) {
        counters.to_kernel.add(1);
    }
    if let Some(host) = entry.host {
        sink.send(host, buf);
    }
}
