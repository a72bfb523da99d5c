//! Two sites with one segment between them, driven burst by burst.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock;

use arrayvec::ArrayVec;
use bridge::{AttachmentIndex, Fdb, Segment, SegmentIndex, Segments, SessionIndex};
use counters::CoreCounters;
use crossbeam::channel::{Receiver, bounded};
use pipeline::command::{Command, Event};
use pipeline::tables::{
    AttachmentEntry, Encap, Path, PortEntry, PortIndex, PortRole, SessionEntry, Tables, TrunkEntry,
    TunnelMap, UplinkEntry, VlanMap,
};
use pipeline::{BURST, Engine, Now, Sink, View, WorkerId};
use record::{KeyLimits, LaneId, LaneSecret, RxLane, Suite, TxLane};
use wire::buf::{BufPool, PacketBuf};
use wire::mac::MacAddr;
use wire::template::UdpTemplate;
use wire::tunnel::TunnelId;
use wire::vlan::VlanId;

use dpdk::{Mbuf as Buf, MbufPool};

const TRUNK: PortIndex = PortIndex(0);
const UPLINK: PortIndex = PortIndex(1);
const SESSION: SessionIndex = SessionIndex(0);
const VLAN: u16 = 10;
const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DESTINATION: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Collects what leaves.
#[derive(Default)]
struct Collect(Vec<Buf>);

impl Sink<Buf> for Collect {
    fn send(&mut self, _port: PortIndex, buf: Buf) {
        self.0.push(buf);
    }

    fn hand_over(&mut self, _worker: usize, _port: PortIndex, _buf: Buf) {}
}

struct Site {
    tables: Tables,
    fdb: Fdb,
    counters: CoreCounters,
    engine: Engine<MbufPool>,
    _events: Receiver<Event>,
}

/// Gives the buffers back as a port does, all at once.
fn free(bufs: &mut Vec<Buf>) {
    while !bufs.is_empty() {
        let take = bufs.len().min(BURST);
        let mut burst: ArrayVec<Buf, BURST> = bufs.drain(..take).collect();
        dpdk::free_burst(&mut burst);
    }
}

/// Both sites and the frame that crosses.
pub(crate) struct Pair {
    a: Site,
    b: Site,
    pool: MbufPool,
    frame: Vec<u8>,
    burst: usize,
    records: usize,
    octets: usize,
    allocations: u64,
}

impl Pair {
    /// Frames of `size` octets over a WAN with this MTU.
    pub(crate) fn new(pool: &MbufPool, wan_mtu: u16, size: usize, suite: Suite, burst: usize) -> Self {
        let pool = pool.clone();
        let (mut a, mut b) = (site(1, wan_mtu, &pool), site(2, wan_mtu, &pool));
        open_lane(&mut a, &mut b, 100, suite);
        open_lane(&mut b, &mut a, 200, suite);
        let tag = [0x81, 0, 0, VLAN as u8];
        let mut frame = [&DESTINATION[..], &SOURCE, &tag, &[0x88, 0xb5]].concat();
        frame.resize(size + tag.len(), 0x5a);
        let pair = Self { a, b, pool, frame, burst, records: 0, octets: 0, allocations: 0 };
        // B has heard the destination, and A of it, so that the measured frames are known unicast.
        pair.b.fdb.learn(
            SegmentIndex(0),
            MacAddr(DESTINATION),
            bridge::Endpoint::Attachment(AttachmentIndex(0)),
            0,
        );
        pair.a.fdb.learn(SegmentIndex(0), MacAddr(DESTINATION), bridge::Endpoint::Session(SESSION), 0);
        pair
    }

    /// Records of a burst in the last turn.
    pub(crate) fn records_per_burst(&self) -> usize {
        self.records
    }

    /// Octets of blocks in each of them, on average.
    pub(crate) fn record_octets(&self) -> usize {
        self.octets
    }

    /// So many bursts from A's trunk to B's trunk; returns the time of each half.
    pub(crate) fn turn(&mut self, rounds: usize) -> (u64, u64) {
        let (mut encrypt, mut decrypt) = (0, 0);
        let (mut wan, mut lan) = (Collect(Vec::with_capacity(1024)), Collect(Vec::with_capacity(1024)));
        let before = crate::alloc::allocations();
        for _ in 0..rounds {
            let mut burst: ArrayVec<Buf, BURST> = ArrayVec::new();
            for _ in 0..self.burst {
                let mut buf = self.pool.alloc().expect("enough buffers");
                buf.append(self.frame.len()).expect("room").copy_from_slice(&self.frame);
                burst.push(buf);
            }
            let start = clock::now();
            let view = view_of(&self.a.tables, &self.a.fdb, &self.a.counters);
            self.a.engine.burst(view, &mut wan, TRUNK, &mut burst);
            self.a.engine.finish(view, &mut wan);
            encrypt += clock::now() - start;
            self.records = wan.0.len();
            self.octets = wan.0.iter().map(|buf| buf.len() - 42 - record::OVERHEAD).sum::<usize>()
                / self.records.max(1);
            let view = view_of(&self.b.tables, &self.b.fdb, &self.b.counters);
            let start = clock::now();
            while !wan.0.is_empty() {
                let take = wan.0.len().min(BURST);
                burst.extend(wan.0.drain(..take));
                self.b.engine.burst(view, &mut lan, UPLINK, &mut burst);
            }
            self.b.engine.finish(view, &mut lan);
            decrypt += clock::now() - start;
            assert_eq!(lan.0.len(), self.burst, "every frame arrives");
            free(&mut lan.0);
        }
        self.allocations += crate::alloc::allocations() - before;
        (encrypt, decrypt)
    }

    /// Allocations during all turns so far.
    pub(crate) fn allocations(&self) -> u64 {
        self.allocations
    }
}

/// All bursts are at one time, which the measurement does not have to ask for.
fn view_of<'a>(tables: &'a Tables, fdb: &'a Fdb, counters: &'a CoreCounters) -> View<'a> {
    View { tables, fdb, counters, now: Now(Duration::from_secs(1)) }
}

fn open_lane(from: &mut Site, to: &mut Site, id: u32, suite: Suite) {
    let id = LaneId::new(id).expect("24 bits");
    let secret = || LaneSecret::new([3; 32]);
    // Keys do not change while measured.
    let limits = KeyLimits { aes_blocks: u64::MAX / 2, age: Duration::from_secs(1 << 30) };
    let rx = Box::new(RxLane::new(id, suite, secret()));
    let tx = Box::new(TxLane::new(id, suite, secret(), limits, Duration::ZERO));
    command(to, Command::InstallRx { session: SESSION, leads: true, lane: rx });
    command(from, Command::InstallTx { session: SESSION, lane: tx });
}

fn command(site: &mut Site, command: Command) {
    let view = view_of(&site.tables, &site.fdb, &site.counters);
    site.engine.command(view, &mut Collect::default(), command);
}

fn site(id: u8, wan_mtu: u16, pool: &MbufPool) -> Site {
    let wan = |site: u8| SocketAddr::from(([192, 0, 2, site], 443));
    let mac = |site: u8, port: PortIndex| MacAddr([2, 0xca, 0, 0, site, port.0]);
    let peer = 3 - id;
    let header =
        UdpTemplate::new(mac(id, UPLINK), mac(peer, UPLINK), wan(id), wan(peer)).expect("one family");
    let max_record = wan_mtu - header.overhead() as u16;
    let tunnel = TunnelId::new(10).expect("in range");
    let vlan = VlanId::new(VLAN).expect("in range");
    let trunk = TrunkEntry { vlans: VlanMap::new([(vlan, AttachmentIndex(0))]), ..TrunkEntry::default() };
    let port =
        |name: &str, index, role| PortEntry { name: name.into(), mac: mac(id, index), role, host: None };
    let tables = Tables {
        ports: vec![
            port("trunk", TRUNK, PortRole::Trunk(trunk)),
            port("wan", UPLINK, PortRole::Uplink(UplinkEntry { data_port: 443 })),
        ],
        attachments: vec![AttachmentEntry {
            segment: SegmentIndex(0),
            port: TRUNK,
            encap: Encap::Vlan(vlan),
        }],
        segments: Segments::new(vec![Segment {
            name: "bench".into(),
            tunnel_id: tunnel,
            mtu: 9000,
            attachments: vec![AttachmentIndex(0)],
            sessions: vec![SESSION],
            spoke_to_spoke: true,
        }]),
        by_tunnel: TunnelMap::new([(tunnel, SegmentIndex(0))]),
        sessions: vec![Some(SessionEntry {
            path: Some(Path { port: UPLINK, header, max_record, port_per_worker: false }),
            peer: Some(wan(peer)),
            segments: [tunnel].into_iter().collect(),
        })],
        ..Tables::default()
    };
    let (tell, events) = bounded(64);
    Site {
        tables,
        fdb: Fdb::new(4096),
        counters: CoreCounters::new(2, 1, 1),
        engine: Engine::new(pool.clone(), WorkerId::ALONE, 1, tell),
        _events: events,
    }
}
