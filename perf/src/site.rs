//! Two sites as the appliance builds them, without ports, sessions or a control thread. All use of the appliance's own
//! interfaces is here, so that a change of theirs is a change of one file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use bridge::{
    AttachmentIndex, EgressFilter, Endpoint, Fdb, Neighbours, Policy, RemoteIndex, Segment, SegmentIndex,
    Segments, SessionIndex, StormControl, StormLimits,
};
use counters::{CoreCounters, DropReason};
use crossbeam::channel::{Receiver, bounded};
use dpdk::{Mbuf, MbufPool};
use pipeline::capture::{Filter, Point, Tap, Taps};
use pipeline::command::{Command, Event};
use pipeline::notice::Notice;
use pipeline::tables::{
    AttachmentEntry, AttachmentState, Encap, Marks, Path, PathEntry, PortEntry, PortIndex, PortRole,
    RemoteVtep, SessionEntry, Spread, Tables, TrunkEntry, TunnelMap, UplinkEntry, VlanMap, Vtep,
};
use pipeline::{Engine, Now, Sink, View, WorkerId};
use record::{Cipher, KeyLimits, LaneId, LaneSecret, RxLane, Suite, TxLane};
use wire::mac::MacAddr;
use wire::template::UdpTemplate;
use wire::tunnel::TunnelId;
use wire::vlan::VlanId;
use wire::vxlan::{UDP_PORT, Vni};
use wire::way::Way;

use crate::frames;

/// What computes AES-GCM.
pub(crate) type Aead = record::Engine;

/// What the appliance takes by itself on this machine.
pub(crate) fn aead() -> Aead {
    if Aead::IpsecMb.is_available() { Aead::IpsecMb } else { Aead::Ring }
}

/// Most packets of one burst.
pub(crate) const BURST: usize = pipeline::BURST;

/// A burst.
pub(crate) type Burst = ArrayVec<Mbuf, BURST>;

const TRUNK: PortIndex = PortIndex(0);
const UPLINK: PortIndex = PortIndex(1);

/// How frames look on the trunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    Vlan,
    Vxlan,
}

/// What the segments do beside forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Nothing.
    Off,
    /// Clamping of TCP's maximum segment size, as by default.
    Clamp,
    /// Storm control, with limits that are not reached.
    Storm,
    /// The egress filter, for an address that nobody here asks for.
    Egress,
    /// ARP and ND suppression: every frame is looked at, none of these is held.
    Suppress,
    /// A trunk that gives back what it gets: what leaves by it is noted, what comes in is looked up.
    Reflect,
    /// A capture of the first segment, with a filter that nothing here matches.
    Capture,
    /// Sessions with two paths, over which flows are spread.
    Paths,
    /// Records with the DSCP of what is in them, and with its congestion signals.
    Marks,
    /// All of these.
    All,
}

impl Feature {
    pub(crate) const ALL: [Self; 10] = [
        Self::Off,
        Self::Clamp,
        Self::Storm,
        Self::Egress,
        Self::Suppress,
        Self::Reflect,
        Self::Capture,
        Self::Paths,
        Self::Marks,
        Self::All,
    ];

    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn has(self, feature: Self) -> bool {
        self == feature || self == Self::All
    }

    /// The paths of a session.
    fn paths(self) -> usize {
        if self.has(Self::Paths) { 2 } else { 1 }
    }

    fn marks(self) -> Marks {
        let on = self.has(Self::Marks);
        Marks { dscp: 0, copy: on, ecn: on }
    }

    /// A capture that goes on for as long as nobody ends it: it never finds anything.
    fn taps(self) -> Option<Taps> {
        let filter: Filter = "host 203.0.113.2".parse().expect("a filter");
        let (tap, _) = Tap::new(Point::Segment(SegmentIndex(0)), filter, 256, 1);
        Taps::new(vec![tap]).filter(|_| self.has(Self::Capture))
    }

    fn policy(self, sessions: u16) -> Policy {
        let has = |feature| self.has(feature);
        let limits = StormLimits { broadcast: 1 << 20, multicast: 1 << 20, unknown_unicast: 1 << 20 };
        let sides = || (0..sessions).map(|at| Endpoint::Session(SessionIndex(at)));
        let mut filter = EgressFilter::new(Some(MacAddr([2, 0xcc, 0, 0, 0, 1]).into()));
        filter.keep(Ipv4Addr::new(203, 0, 113, 1).into(), None);
        Policy {
            clamp: if has(Self::Clamp) { 1400 } else { 0 },
            storm: has(Self::Storm).then(|| Arc::new(StormControl::new(sides().map(|side| (side, limits))))),
            egress: has(Self::Egress).then_some(filter),
            neighbours: if has(Self::Suppress) { Neighbours::Answered } else { Neighbours::Unseen },
            reflections: has(Self::Reflect).then(Arc::default),
            captured: has(Self::Capture),
            ..Policy::default()
        }
    }
}

/// What the two sites are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) attachment: Attachment,
    pub(crate) wan_mtu: u16,
    /// Bits of the AES key.
    pub(crate) aes: u16,
    pub(crate) aead: Aead,
    /// Addresses in each forwarding database, half of them on either side; as many pairs talk.
    pub(crate) macs: usize,
    /// Sessions of site A. Site B stands for all its peers.
    pub(crate) sites: usize,
    pub(crate) segments: usize,
    pub(crate) feature: Feature,
}

impl Shape {
    /// What all axes are varied from.
    pub(crate) fn base() -> Self {
        let aead = aead();
        let feature = Feature::Clamp;
        Self {
            attachment: Attachment::Vlan,
            wan_mtu: 1500,
            aes: 128,
            aead,
            macs: 10,
            sites: 1,
            segments: 1,
            feature,
        }
    }

    /// Pairs of stations: enough that every session and every segment has one.
    pub(crate) fn flows(&self) -> usize {
        (self.macs / 2).max(self.sites).max(self.segments)
    }
}

/// What one site shares between its workers.
pub(crate) struct Common {
    pub(crate) tables: Tables,
    pub(crate) fdb: Fdb,
}

/// One worker of a site.
pub(crate) struct Site {
    common: Arc<Common>,
    counters: CoreCounters,
    engine: Engine<MbufPool>,
    now: Now,
    events: Receiver<Event>,
    /// Held open: nobody reads it, and nothing is told but by features that ask for it.
    _notices: Receiver<Notice>,
}

/// What a site sends, by the side that it leaves on.
#[derive(Default)]
pub(crate) struct Out {
    pub(crate) wan: Vec<Mbuf>,
    pub(crate) lan: Vec<Mbuf>,
}

impl Out {
    /// With room for what a measured section sends, so that the measured code does not grow it.
    pub(crate) fn new() -> Self {
        Self { wan: Vec::with_capacity(4096), lan: Vec::with_capacity(4096) }
    }
}

impl Sink<Mbuf> for Out {
    #[inline]
    fn send(&mut self, port: PortIndex, buf: Mbuf) {
        if port == TRUNK { self.lan.push(buf) } else { self.wan.push(buf) }
    }

    fn hand_over(&mut self, _worker: usize, _port: PortIndex, _buf: Mbuf) {}

    fn over_tcp(&mut self, _session: SessionIndex, _buf: Mbuf) {}
}

/// Gives buffers back as a port does, many at once.
pub(crate) fn free(bufs: &mut Vec<Mbuf>) {
    while !bufs.is_empty() {
        let take = bufs.len().min(BURST);
        let mut burst: Burst = bufs.drain(..take).collect();
        dpdk::free_burst(&mut burst);
    }
}

/// A site's tables and a forwarding database that knows every station (`learned`) or none.
pub(crate) fn common(id: u8, shape: &Shape, max_macs: usize, learned: bool) -> Arc<Common> {
    let common = Common { tables: tables(id, shape), fdb: Fdb::new(max_macs.max(2 * shape.flows())) };
    for flow in (0..shape.flows()).filter(|_| learned) {
        let segment = SegmentIndex((flow % shape.segments) as u16);
        let attachment = AttachmentIndex(segment.0);
        let here = match shape.attachment {
            Attachment::Vlan => Endpoint::Attachment(attachment),
            Attachment::Vxlan => Endpoint::Vtep(attachment, RemoteIndex(0)),
        };
        let there = Endpoint::Session(SessionIndex((flow % shape.sites) as u16));
        // Site A has the sources, site B the destinations.
        let (source, destination) = if id == 1 { (here, there) } else { (there, here) };
        common.fdb.learn(segment, frames::source(flow), source, NOW.seconds());
        common.fdb.learn(segment, frames::destination(flow), destination, NOW.seconds());
    }
    Arc::new(common)
}

/// The moment that all measurements without ports take place in.
const NOW: Now = Now(Duration::from_secs(1));

/// Workers of two sites with their lanes open in both directions. `lanes` keeps those of several pairs apart.
pub(crate) fn pair(
    a: Arc<Common>,
    b: Arc<Common>,
    shape: &Shape,
    pool: &MbufPool,
    lanes: u32,
) -> (Site, Site) {
    let (mut a, mut b) = (Site::new(a, shape, pool), Site::new(b, shape, pool));
    for (session, path) in
        (0..shape.sites).flat_map(|at| (0..shape.feature.paths()).map(move |path| (at, path)))
    {
        let id = (lanes + 1) * 4096 + 2 * session as u32 + 2048 * path as u32;
        open_lane(&mut a, &mut b, (session, path), id, shape);
        open_lane(&mut b, &mut a, (session, path), id + 1, shape);
    }
    (a, b)
}

/// Both sites as the scenarios without ports use them.
pub(crate) fn learned_pair(shape: &Shape, pool: &MbufPool) -> (Site, Site) {
    pair(common(1, shape, 0, true), common(2, shape, 0, true), shape, pool, 0)
}

fn open_lane(from: &mut Site, to: &mut Site, (session, path): (usize, usize), id: u32, shape: &Shape) {
    let session = SessionIndex(session as u16);
    let (tx, rx) = lane(id, shape);
    to.command(Command::InstallRx { session, path, leads: true, lane: Box::new(rx) });
    from.command(Command::InstallTx { session, path, lane: Box::new(tx) });
}

/// Both ends of a lane. Its keys do not change while measured.
pub(crate) fn lane(id: u32, shape: &Shape) -> (TxLane, RxLane) {
    let id = LaneId::new(id).expect("24 bits");
    let cipher = if shape.aes == 256 { Cipher::Aes256Gcm } else { Cipher::Aes128Gcm };
    let suite = Suite { cipher, engine: shape.aead };
    let secret = || LaneSecret::new([3; 32]);
    let limits = KeyLimits { aes_blocks: u64::MAX / 2, age: Duration::from_secs(1 << 30) };
    (TxLane::new(id, suite, secret(), limits, Duration::ZERO), RxLane::new(id, suite, secret()))
}

/// Seals a record as the send stage does.
#[inline]
pub(crate) fn seal(lane: &mut TxLane, record: &mut [u8]) -> bool {
    lane.seal(record, NOW.0).is_ok()
}

/// Opens a record as the receive stage does.
#[inline]
pub(crate) fn open(lane: &mut RxLane, record: &mut [u8]) -> bool {
    lane.open(record).is_ok()
}

impl Site {
    fn new(common: Arc<Common>, shape: &Shape, pool: &MbufPool) -> Self {
        let (tell, events) = bounded(64);
        let (notify, notices) = bounded(64);
        Self {
            counters: CoreCounters::new(2, shape.segments, shape.sites),
            engine: Engine::new(pool.clone(), WorkerId::ALONE, shape.sites, tell, notify),
            common,
            now: NOW,
            events,
            _notices: notices,
        }
    }

    fn command(&mut self, command: Command) {
        let Self { common, counters, engine, now, events, .. } = self;
        engine.command(view(common, counters, *now), &mut Out::default(), command);
        while events.try_recv().is_ok() {}
    }

    /// A burst from the trunk.
    #[inline]
    pub(crate) fn trunk(&mut self, burst: &mut Burst, out: &mut Out) {
        let Self { common, counters, engine, now, .. } = self;
        engine.burst(view(common, counters, *now), out, TRUNK, burst);
    }

    /// A burst from the WAN.
    #[inline]
    pub(crate) fn uplink(&mut self, burst: &mut Burst, out: &mut Out) {
        let Self { common, counters, engine, now, .. } = self;
        engine.burst(view(common, counters, *now), out, UPLINK, burst);
    }

    /// The end of a burst.
    #[inline]
    pub(crate) fn finish(&mut self, out: &mut Out) {
        let Self { common, counters, engine, now, .. } = self;
        engine.finish(view(common, counters, *now), out);
    }

    /// What is due now and then.
    pub(crate) fn housekeeping(&mut self) {
        let Self { common, counters, engine, now, .. } = self;
        engine.housekeeping(view(common, counters, *now));
    }

    /// Sets the time.
    pub(crate) fn at(&mut self, now: Duration) {
        self.now = Now(now);
    }

    /// Its forwarding database.
    pub(crate) fn fdb(&self) -> &Fdb {
        &self.common.fdb
    }

    /// What it dropped, by reason.
    pub(crate) fn drops(&self) -> Vec<(&'static str, u64)> {
        let count = |reason: &DropReason| (reason.name(), self.counters.drops.get(*reason));
        DropReason::ALL.iter().map(count).filter(|(_, count)| *count > 0).collect()
    }
}

#[inline]
fn view<'a>(common: &'a Common, counters: &'a CoreCounters, now: Now) -> View<'a> {
    View { tables: &common.tables, fdb: &common.fdb, counters, now, dry: false }
}

/// The MAC address of a site's port.
fn port_mac(site: u8, port: PortIndex) -> MacAddr {
    MacAddr([2, 0xca, 0, 0, site, port.0])
}

/// The headers that VXLAN datagrams from the local network have when they reach a site's trunk.
pub(crate) fn vxlan_header(site: u8, inwards: bool) -> UdpTemplate {
    let (local, remote) =
        ((port_mac(site, TRUNK), vtep(site, 1)), (MacAddr([2, 0xcb, 0, 0, site, 0]), vtep(site, 2)));
    let (from, to) = if inwards { (remote, local) } else { (local, remote) };
    let address = |ip| SocketAddr::new(ip, UDP_PORT);
    UdpTemplate::new(from.0, to.0, address(from.1), address(to.1)).expect("both are IPv4")
}

fn vtep(site: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, site, host).into()
}

fn tables(id: u8, shape: &Shape) -> Tables {
    let segments = 0..shape.segments as u16;
    let tunnel = |segment: u16| TunnelId::new(segment + 1).expect("at most 4093 segments");
    let vlan = |segment: u16| VlanId::new(segment + 1).expect("at most 4093 segments");
    let vni = |segment: u16| Vni::new(u32::from(segment) + 1).expect("24 bits");
    let is_vxlan = shape.attachment == Attachment::Vxlan;
    let trunk = TrunkEntry {
        vlans: VlanMap::new(segments.clone().filter(|_| !is_vxlan).map(|at| (vlan(at), AttachmentIndex(at)))),
        vtep: is_vxlan.then(|| Vtep {
            local: vtep(id, 1),
            group: None,
            udp_port: UDP_PORT,
            vnis: segments.clone().map(|at| (vni(at), AttachmentIndex(at))).collect(),
            remotes: [(vtep(id, 2), RemoteIndex(0))].into_iter().collect(),
            learn: false,
        }),
        ..TrunkEntry::default()
    };
    let port =
        |name: &str, index, role| PortEntry { name: name.into(), mac: port_mac(id, index), role, host: None };
    let attachment = |at: u16| AttachmentEntry {
        segment: SegmentIndex(at),
        port: TRUNK,
        encap: if is_vxlan { Encap::Vxlan(vni(at), vec![RemoteIndex(0)]) } else { Encap::Vlan(vlan(at)) },
        state: AttachmentState::Forwarding,
    };
    let segment = |at: u16| Segment {
        name: format!("bench-{at}"),
        tunnel_id: tunnel(at),
        mtu: 9000,
        attachments: vec![AttachmentIndex(at)],
        sessions: (0..shape.sites as u16).map(SessionIndex).collect(),
        spoke_to_spoke: true,
        policy: shape.feature.policy(shape.sites as u16),
    };
    Tables {
        ports: vec![
            port("trunk", TRUNK, PortRole::Trunk(trunk)),
            port(
                "wan",
                UPLINK,
                PortRole::Uplink(UplinkEntry { data_port: 443, ecn: shape.feature.marks().ecn }),
            ),
        ],
        attachments: segments.clone().map(attachment).collect(),
        remotes: vec![RemoteVtep { address: vtep(id, 2), header: Some(vxlan_header(id, false)) }],
        by_tunnel: TunnelMap::new(segments.clone().map(|at| (tunnel(at), SegmentIndex(at)))),
        sessions: (0..shape.sites as u16).map(|at| Some(session(id, at, shape))).collect(),
        segments: Segments::new(segments.map(segment).collect()),
        taps: shape.feature.taps(),
        ..Tables::default()
    }
}

/// A server is at one address for all its sites; each site has its own.
fn session(id: u8, at: u16, shape: &Shape) -> SessionEntry {
    let server = SocketAddr::from(([192, 0, 2, 1], 443));
    let client = SocketAddr::from(([10, 0, (at >> 8) as u8, at as u8], 443));
    let (local, peer) = if id == 1 { (server, client) } else { (client, server) };
    let header =
        UdpTemplate::new(port_mac(id, UPLINK), port_mac(3 - id, UPLINK), local, peer).expect("one family");
    let max_record = shape.wan_mtu - header.overhead() as u16;
    let segments = (0..shape.segments as u16).filter_map(|segment| TunnelId::new(segment + 1)).collect();
    let marks = shape.feature.marks();
    let path = Path { port: UPLINK, header: Some(header), marks, max_record, port_per_worker: false };
    let path = PathEntry { path: Some(path), way: Some(Way { port: UPLINK.0, local: None, peer }) };
    let paths = vec![path; shape.feature.paths()];
    let usable: Vec<usize> = (0..paths.len()).collect();
    SessionEntry { spread: Spread::new(paths.len(), &usable), paths, segments }
}
