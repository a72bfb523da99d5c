//! What the data path does with a frame, found out by doing it: the same engine and the same tables, with counters, forwarding
//! database and ports of their own, so that nothing is learned, counted, captured or sent, and no budget is spent.

use std::net::SocketAddr;

use arrayvec::ArrayVec;
use bridge::{Endpoint, Fdb, Forward, SegmentIndex, SessionIndex};
use counters::{CoreCounters, DropReason};
use crossbeam::channel::{bounded, unbounded};
use record::{Cipher, KeyLimits, LaneId, LaneSecret, Suite, TxLane, header};
use wire::buf::{BufPool, HeapBuf, HeapPool, PacketBuf};
use wire::frame::parse_udp;
use wire::mac::{MacAddr, MacBits};
use wire::way::ALL_PATHS;

use crate::classify::{self, Classified};
use crate::forward::Keys;
use crate::frame::{ADDRESSES, Body, Meta};
use crate::notice::Notice;
use crate::receive::Unpacked;
use crate::tables::{PortIndex, PortRole, Tables};
use crate::{Engine, Now, Sink, View, WorkerId};

/// Octets of the largest packet that is tried.
const ROOM: usize = 12_000;

/// What a stage found or did, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The frame belongs to a segment.
    Entered {
        /// The segment.
        segment: SegmentIndex,
        /// Where it came from.
        from: Endpoint,
        /// Its destination.
        dst: MacAddr,
        /// Its source.
        src: MacAddr,
        /// The frame without its encapsulation.
        frame: Vec<u8>,
    },
    /// The port leaves it to the kernel.
    Kernel,
    /// It is a probe of a loop guard or a test frame: the control thread takes it.
    Probe,
    /// The port has no such number, or is not one of a segment.
    NoTrunk,
    /// Where its source was known before; `None`: it is learned now.
    Source(Option<Endpoint>),
    /// Where its destination is.
    Destination(Option<Endpoint>),
    /// What follows from that.
    Decision(Forward),
    /// The control thread sees it; false: and has to answer it or to pass it on.
    Shown(bool),
    /// The maximum segment size of its TCP handshake is made to fit.
    Clamped,
    /// It is dropped, here or on one of its ways.
    Dropped(DropReason),
    /// It leaves by a port, as these octets.
    Leaves(PortIndex, Vec<u8>),
    /// It is packed into a record of a session, a datagram of so many octets, to this address.
    Packed(SessionIndex, PortIndex, usize, SocketAddr),
    /// It is packed into a record of a session, of so many octets, that goes over TLS since UDP does not get through.
    OverTcp(SessionIndex, usize),
}

/// Tries `frame` as if `port` received it.
pub fn from_port(tables: &Tables, fdb: &Fdb, now: Now, port: PortIndex, frame: &[u8]) -> Vec<Finding> {
    let mut dry = Dry::new(tables);
    let Some(entry) = tables.ports.get(port.index()) else { return vec![Finding::NoTrunk] };
    let PortRole::Trunk(trunk) = &entry.role else { return vec![Finding::NoTrunk] };
    let Some(buf) = dry.buf(frame) else { return vec![Finding::Dropped(DropReason::NoBuffer)] };
    let view = dry.view(tables, now);
    match classify::classify(view, entry, trunk, buf) {
        Classified::Frame(meta, buf) => dry.forward(fdb, view.now, tables, &meta, buf),
        Classified::Probe(meta, buf) => vec![entered(&meta, buf.data()), Finding::Probe],
        Classified::Kernel(_) => vec![Finding::Kernel],
        Classified::Drop(reason, _) => vec![Finding::Dropped(reason)],
        Classified::UnknownVtep(..) => vec![Finding::Dropped(DropReason::VxlanUnknownVtep)],
    }
}

/// Tries `frame`, without encapsulation, as if it came through a session under this tunnel ID.
pub fn from_session(
    tables: &Tables,
    fdb: &Fdb,
    now: Now,
    (session, tunnel): (SessionIndex, u16),
    frame: &[u8],
) -> Vec<Finding> {
    let mut dry = Dry::new(tables);
    let view = dry.view(tables, now);
    let Some(meta) = Unpacked::default().accept(view, session, tunnel, frame) else { return dry.drops() };
    if meta.dst.is_loop_probe() {
        return vec![entered(&meta, &frame[ADDRESSES..]), Finding::Probe];
    }
    let Some(buf) = dry.buf(&frame[ADDRESSES..]) else { return vec![Finding::Dropped(DropReason::NoBuffer)] };
    dry.forward(fdb, now, tables, &meta, buf)
}

/// An appliance's insides that nobody else sees.
struct Dry {
    fdb: Fdb,
    counters: CoreCounters,
    pool: HeapPool,
}

impl Dry {
    fn new(tables: &Tables) -> Self {
        let segments = tables.segments.iter().count();
        Self {
            fdb: Fdb::new(16),
            counters: CoreCounters::new(tables.ports.len(), segments, tables.sessions.len()),
            pool: HeapPool::new(ROOM),
        }
    }

    fn view<'a>(&'a self, tables: &'a Tables, now: Now) -> View<'a> {
        View { tables, fdb: &self.fdb, counters: &self.counters, now, dry: true }
    }

    fn buf(&mut self, octets: &[u8]) -> Option<HeapBuf> {
        let mut buf = self.pool.alloc()?;
        buf.append(octets.len())?.copy_from_slice(octets);
        Some(buf)
    }

    fn forward(&self, real: &Fdb, now: Now, tables: &Tables, meta: &Meta, buf: HeapBuf) -> Vec<Finding> {
        let view = self.view(tables, now);
        let from = meta.from.get();
        let source = self.copy(real, meta.segment, meta.src);
        let destination = self.copy(real, meta.segment, meta.dst);
        let mut findings =
            vec![entered(meta, buf.data()), Finding::Source(source), Finding::Destination(destination)];
        findings.push(Finding::Decision(tables.segments.forward(meta.segment, from, destination)));

        let (tell, _events) = bounded(1);
        let (notify, notices) = unbounded();
        let mut engine = Engine::new(self.pool.clone(), WorkerId::ALONE, tables.sessions.len(), tell, notify);
        for session in tables.segments.get(meta.segment).map_or(&[][..], |segment| &segment.sessions) {
            let paths = tables.session(*session).map_or(0, |entry| entry.paths.len());
            for path in 0..paths {
                if let Some(lane) = lane(*session, path) {
                    engine.tx.install(*session, path, Box::new(lane));
                }
            }
        }
        let mut sent = Sent::default();
        engine.forward(view, &mut sent, (meta, Keys::touch(view, meta)), Body::Own(buf));
        engine.finish(view, &mut sent);

        for notice in notices.try_iter() {
            if let Notice::Frame(seen) = notice {
                findings.push(Finding::Shown(seen.forwarded));
            }
        }
        if self.counters.segments.iter().any(|segment| segment.mss.adjusted.get() > 0) {
            findings.push(Finding::Clamped);
        }
        findings.extend(self.drops());
        let found = |(port, octets): (PortIndex, Vec<u8>)| {
            packed(tables, port, &octets).unwrap_or(Finding::Leaves(port, octets))
        };
        findings.extend(sent.ports.into_iter().map(found));
        findings.extend(sent.tcp.into_iter().map(|(session, octets)| Finding::OverTcp(session, octets)));
        findings
    }

    /// Copies what the real database knows of an address.
    fn copy(&self, real: &Fdb, segment: SegmentIndex, mac: MacBits) -> Option<Endpoint> {
        let mac = MacAddr::from(mac);
        let (endpoint, pinned) = real.get(segment, mac)?;
        self.fdb.learn(segment, mac, endpoint, 0);
        self.fdb.pin(segment, mac, pinned);
        Some(endpoint)
    }

    fn drops(&self) -> Vec<Finding> {
        let counted = DropReason::ALL.iter().filter(|reason| self.counters.drops.get(**reason) > 0);
        counted.map(|reason| Finding::Dropped(*reason)).collect()
    }
}

fn entered(meta: &Meta, rest: &[u8]) -> Finding {
    Finding::Entered {
        segment: meta.segment,
        from: meta.from.get(),
        dst: meta.dst.into(),
        src: meta.src.into(),
        frame: [&meta.addresses(), rest].concat(),
    }
}

/// What would have been sent, by port and over TLS. Of a flood to more places than that, the first.
#[derive(Default)]
struct Sent {
    ports: ArrayVec<(PortIndex, Vec<u8>), 64>,
    tcp: ArrayVec<(SessionIndex, usize), 64>,
}

impl Sink<HeapBuf> for Sent {
    fn send(&mut self, port: PortIndex, buf: HeapBuf) {
        let _ = self.ports.try_push((port, buf.data().to_vec()));
    }

    fn hand_over(&mut self, _worker: usize, _port: PortIndex, _buf: HeapBuf) {}

    fn over_tcp(&mut self, session: SessionIndex, buf: HeapBuf) {
        let _ = self.tcp.try_push((session, buf.len()));
    }
}

/// A lane that nobody opens, whose number tells its session.
fn lane(session: SessionIndex, path: usize) -> Option<TxLane> {
    let suite = Suite { cipher: Cipher::Aes128Gcm, engine: record::Engine::Ring };
    let id = LaneId::new(u32::from(session.0) * ALL_PATHS as u32 + path as u32)?;
    Some(TxLane::new(id, suite, LaneSecret::new([0; 32]), KeyLimits::default(), std::time::Duration::ZERO))
}

fn packed(tables: &Tables, port: PortIndex, packet: &[u8]) -> Option<Finding> {
    let PortRole::Uplink(_) = tables.ports.get(port.index())?.role else { return None };
    let udp = parse_udp(packet).ok()??;
    let datagram = &packet[udp.payload.clone()];
    let lane = header::lane_of(datagram).ok()?;
    Some(Finding::Packed(SessionIndex((lane.get() / ALL_PATHS as u32) as u16), port, datagram.len(), udp.dst))
}
