//! Two sites and a WAN in memory: real engines, real records, no DPDK, no clock.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use bridge::{AttachmentIndex, Fdb, Policy, RemoteIndex, Segment, SegmentIndex, Segments, SessionIndex};
use counters::{CoreCounters, DropReason};
use crossbeam::channel::{Receiver, unbounded};
use pipeline::command::{Command, Event};
use pipeline::notice::Notice;
use pipeline::tables::*;
use pipeline::{BURST, Engine, Now, Sink, View, WorkerId};
use record::{Cipher, Engine as AeadEngine, KeyLimits, LaneId, LaneSecret, RxLane, Suite, TxLane};
use wire::buf::{BufPool, HeapBuf, HeapPool, PacketBuf};
use wire::mac::MacAddr;
use wire::template::UdpTemplate;
use wire::tunnel::TunnelId;
use wire::vlan::VlanId;
use wire::vxlan::Vni;
use wire::way::Way;

/// Under which cipher, and who computes it.
pub const SUITE: Suite = Suite { cipher: Cipher::Aes128Gcm, engine: AeadEngine::Ring };

/// The only session of a site.
pub const SESSION: SessionIndex = SessionIndex(0);
/// The trunk port of every site.
pub const TRUNK: PortIndex = PortIndex(0);
/// The uplink port of every site.
pub const UPLINK: PortIndex = PortIndex(1);

/// Where records stand that were given to the control thread.
pub const TCP: PortIndex = PortIndex(99);
/// The UDP port of records.
pub const DATA_PORT: u16 = 443;
/// The remote VTEP that sites with VXLAN know.
pub const REMOTE_VTEP: &str = "10.9.0.2";
/// The local VTEP address.
pub const LOCAL_VTEP: &str = "10.9.0.1";

/// A segment and where it meets the trunk.
pub struct Stretch {
    pub tunnel: u16,
    pub at: At,
}

/// How a segment meets the trunk.
pub enum At {
    Untagged,
    Vlan(u16),
    Service(u16, Option<u16>),
    Vxlan(u32),
}

/// One site.
pub struct Site {
    pub tables: Tables,
    pub fdb: Fdb,
    pub counters: Arc<CoreCounters>,
    pub engine: Engine<HeapPool>,
    pub events: Receiver<Event>,
    pub notices: Receiver<Notice>,
    pub now: Duration,
    wan: SocketAddr,
}

/// Packets that left a site, by port.
#[derive(Default)]
pub struct Sent(pub Vec<(PortIndex, Vec<u8>)>);

impl Sink<HeapBuf> for Sent {
    fn send(&mut self, port: PortIndex, buf: HeapBuf) {
        self.0.push((port, buf.data().to_vec()));
    }

    fn hand_over(&mut self, _worker: usize, _port: PortIndex, _buf: HeapBuf) {
        panic!("there is one worker");
    }

    fn over_tcp(&mut self, _session: SessionIndex, buf: HeapBuf) {
        self.0.push((TCP, buf.data().to_vec()));
    }
}

impl Sent {
    /// What left by `port`.
    pub fn on(&self, port: PortIndex) -> Vec<Vec<u8>> {
        self.0.iter().filter(|(on, _)| *on == port).map(|(_, bytes)| bytes.clone()).collect()
    }
}

/// The MAC address of a site's port.
pub fn port_mac(site: u8, port: PortIndex) -> MacAddr {
    MacAddr([0x02, 0xca, 0x05, 0, site, port.0])
}

impl Site {
    /// Site number `id` (1 or 2) that stretches `stretches` over a path with `max_record` octets of UDP payload.
    pub fn new(id: u8, stretches: &[Stretch], max_record: u16) -> Self {
        let wan = |site: u8| SocketAddr::new(IpAddr::from([192, 0, 2, site]), DATA_PORT);
        let peer = 3 - id;
        let header = UdpTemplate::new(port_mac(id, UPLINK), port_mac(peer, UPLINK), wan(id), wan(peer))
            .expect("one address family");
        let tunnels = || stretches.iter().map(|s| TunnelId::new(s.tunnel).expect("in range"));
        let tables = Tables {
            generation: 1,
            ports: vec![
                PortEntry {
                    name: "trunk".into(),
                    mac: port_mac(id, TRUNK),
                    role: PortRole::Trunk(trunk(stretches)),
                    host: None,
                },
                PortEntry {
                    name: "uplink".into(),
                    mac: port_mac(id, UPLINK),
                    role: PortRole::Uplink(UplinkEntry { data_port: DATA_PORT, ecn: false }),
                    host: None,
                },
            ],
            attachments: stretches.iter().enumerate().map(|(at, s)| attachment(at as u16, s)).collect(),
            remotes: vec![RemoteVtep {
                address: REMOTE_VTEP.parse().expect("an address"),
                header: UdpTemplate::new(
                    port_mac(id, TRUNK),
                    MacAddr([2, 0, 0, 0, 0, 0x99]),
                    SocketAddr::new(LOCAL_VTEP.parse().expect("an address"), 0),
                    SocketAddr::new(REMOTE_VTEP.parse().expect("an address"), 4789),
                )
                .ok(),
            }],
            segments: Segments::new(
                stretches
                    .iter()
                    .enumerate()
                    .map(|(at, s)| Segment {
                        name: format!("segment{}", s.tunnel),
                        tunnel_id: TunnelId::new(s.tunnel).expect("in range"),
                        mtu: 9000,
                        attachments: vec![AttachmentIndex(at as u16)],
                        sessions: vec![SESSION],
                        spoke_to_spoke: true,
                        policy: Policy::default(),
                    })
                    .collect(),
            ),
            by_tunnel: TunnelMap::new(tunnels().enumerate().map(|(at, t)| (t, SegmentIndex(at as u16)))),
            taps: None,
            sessions: vec![Some(SessionEntry::alone(
                Path {
                    port: UPLINK,
                    header: Some(header),
                    marks: Marks::default(),
                    max_record,
                    port_per_worker: false,
                },
                Way { port: UPLINK.0, local: None, peer: wan(peer) },
                tunnels().collect(),
            ))],
        };
        let (tell, events) = unbounded();
        let (notify, notices) = unbounded();
        Self {
            tables,
            fdb: Fdb::new(1024),
            counters: Arc::new(CoreCounters::new(4, 4096, 4)),
            engine: Engine::new(HeapPool::new(12_000), WorkerId::ALONE, 4, tell, notify),
            events,
            notices,
            now: Duration::from_secs(1),
            wan: wan(id),
        }
    }

    /// Changes all segments.
    pub fn change(&mut self, change: impl Fn(&mut Segment)) {
        let mut segments: Vec<Segment> =
            self.tables.segments.iter().map(|(_, segment)| segment.clone()).collect();
        segments.iter_mut().for_each(change);
        self.tables.segments = Segments::new(segments);
    }

    /// This site's WAN address.
    pub fn wan(&self) -> SocketAddr {
        self.wan
    }

    /// Receives `packets` on `port`, in bursts, and returns what leaves.
    pub fn receive(&mut self, port: PortIndex, packets: &[Vec<u8>]) -> Sent {
        let mut sent = Sent::default();
        for chunk in packets.chunks(BURST) {
            self.begin(port, chunk, &mut sent);
            self.finish(&mut sent);
        }
        sent
    }

    /// Receives one burst, and leaves its records open.
    pub fn begin(&mut self, port: PortIndex, packets: &[Vec<u8>], sent: &mut Sent) {
        let mut burst: ArrayVec<HeapBuf, BURST> = ArrayVec::new();
        for packet in packets {
            let mut buf = self.engine.pool().alloc().expect("as many as the pool has");
            buf.append(packet.len()).expect("room").copy_from_slice(packet);
            burst.push(buf);
        }
        let view = View {
            tables: &self.tables,
            fdb: &self.fdb,
            counters: &self.counters,
            now: Now(self.now),
            dry: false,
        };
        self.engine.burst(view, sent, port, &mut burst);
        assert!(burst.is_empty(), "a burst is consumed whole");
    }

    /// Ends a burst.
    pub fn finish(&mut self, sent: &mut Sent) {
        let view = View {
            tables: &self.tables,
            fdb: &self.fdb,
            counters: &self.counters,
            now: Now(self.now),
            dry: false,
        };
        self.engine.finish(view, sent);
    }

    /// From now on there are only so many buffers.
    pub fn limit_buffers(&mut self, count: usize) {
        let (tell, events) = unbounded();
        let (notify, notices) = unbounded();
        (self.events, self.notices) = (events, notices);
        let pool = HeapPool::limited(12_000, count);
        self.engine = Engine::new(pool, WorkerId::ALONE, 4, tell, notify);
    }

    /// From now on records go over TLS, of so many octets.
    pub fn over_tcp(&mut self, max_record: u16) {
        let entry = self.tables.sessions[0].as_mut().expect("a session");
        let path = entry.paths[0].path.as_mut().expect("a path");
        (path.header, path.max_record) = (None, max_record);
    }

    /// Receives records that came over TLS, and returns what leaves.
    pub fn receive_over_tcp(&mut self, records: &[Vec<u8>]) -> Sent {
        let mut sent = Sent::default();
        let view = View {
            tables: &self.tables,
            fdb: &self.fdb,
            counters: &self.counters,
            now: Now(self.now),
            dry: false,
        };
        for chunk in records.chunks(BURST) {
            let mut burst: ArrayVec<HeapBuf, BURST> = ArrayVec::new();
            for record in chunk {
                let mut buf = self.engine.pool().alloc().expect("an unlimited pool");
                buf.append(record.len()).expect("room").copy_from_slice(record);
                burst.push(buf);
            }
            self.engine.burst_over_tcp(view, &mut sent, &mut burst);
            self.engine.finish(view, &mut sent);
        }
        sent
    }

    /// Carries out `command`.
    pub fn command(&mut self, command: Command) -> Sent {
        let mut sent = Sent::default();
        let view = View {
            tables: &self.tables,
            fdb: &self.fdb,
            counters: &self.counters,
            now: Now(self.now),
            dry: false,
        };
        self.engine.command(view, &mut sent, command);
        self.engine.finish(view, &mut sent);
        sent
    }

    /// Lets time-outs happen.
    pub fn housekeep(&mut self) {
        let view = View {
            tables: &self.tables,
            fdb: &self.fdb,
            counters: &self.counters,
            now: Now(self.now),
            dry: false,
        };
        self.engine.housekeeping(view);
    }

    /// How often `reason` was counted.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.counters.drops.get(reason)
    }

    /// All drops but those of `expected`, by name: a test that expects none sees which.
    pub fn other_drops(&self, expected: &[DropReason]) -> Vec<(&'static str, u64)> {
        DropReason::ALL
            .iter()
            .filter(|reason| !expected.contains(reason) && self.drops(**reason) > 0)
            .map(|reason| (reason.name(), self.drops(*reason)))
            .collect()
    }
}

/// Two sites with a lane in each direction.
pub fn pair(a: &[Stretch], b: &[Stretch], max_record: u16) -> (Site, Site) {
    let mut sites = (Site::new(1, a, max_record), Site::new(2, b, max_record));
    lane(&mut sites.0, &mut sites.1, 100, KeyLimits::default());
    lane(&mut sites.1, &mut sites.0, 200, KeyLimits::default());
    sites.0.events.try_iter().for_each(drop);
    sites.1.events.try_iter().for_each(drop);
    sites
}

/// Opens a lane from one site to another.
pub fn lane(from: &mut Site, to: &mut Site, id: u32, limits: KeyLimits) {
    lane_into(from, (to, SESSION), id, limits);
}

/// Opens a lane from the session of one site into a session of another.
pub fn lane_into(from: &mut Site, (to, session): (&mut Site, SessionIndex), id: u32, limits: KeyLimits) {
    let id = LaneId::new(id).expect("24 bits");
    let secret = || LaneSecret::new([id.get() as u8; 32]);
    let rx = Box::new(RxLane::new(id, SUITE, secret()));
    let tx = Box::new(TxLane::new(id, SUITE, secret(), limits, from.now));
    to.command(Command::InstallRx { session, path: 0, leads: true, lane: rx });
    from.command(Command::InstallTx { session: SESSION, path: 0, lane: tx });
}

fn trunk(stretches: &[Stretch]) -> TrunkEntry {
    let mut entry = TrunkEntry::default();
    let mut vlans = Vec::new();
    let mut vnis = Vec::new();
    for (at, stretch) in stretches.iter().enumerate() {
        let at = AttachmentIndex(at as u16);
        match stretch.at {
            At::Untagged => entry.untagged = Some(at),
            At::Vlan(vlan) => vlans.push((vlan_id(vlan), at)),
            At::Service(outer, None) => entry.services.entry(vlan_id(outer)).or_default().rest = Some(at),
            At::Service(outer, Some(vlan)) => {
                entry.services.entry(vlan_id(outer)).or_default().vlans = VlanMap::new([(vlan_id(vlan), at)]);
            }
            At::Vxlan(vni) => vnis.push((Vni::new(vni).expect("24 bits"), at)),
        }
    }
    entry.vlans = VlanMap::new(vlans);
    if !vnis.is_empty() {
        entry.vtep = Some(Vtep {
            local: LOCAL_VTEP.parse().expect("an address"),
            group: None,
            udp_port: 4789,
            vnis: vnis.into_iter().collect(),
            remotes: [(REMOTE_VTEP.parse().expect("an address"), RemoteIndex(0))].into_iter().collect(),
            learn: true,
        });
    }
    entry
}

fn attachment(at: u16, stretch: &Stretch) -> AttachmentEntry {
    let encap = match stretch.at {
        At::Untagged => Encap::Untagged,
        At::Vlan(vlan) => Encap::Vlan(vlan_id(vlan)),
        At::Service(outer, vlan) => Encap::Service(vlan_id(outer), vlan.map(vlan_id)),
        At::Vxlan(vni) => Encap::Vxlan(Vni::new(vni).expect("24 bits"), vec![RemoteIndex(0)]),
    };
    AttachmentEntry { segment: SegmentIndex(at), port: TRUNK, encap, state: AttachmentState::Forwarding }
}

fn vlan_id(raw: u16) -> VlanId {
    VlanId::new(raw).expect("in range")
}

/// An Ethernet frame with `payload` octets of a recognisable pattern.
pub fn frame(dst: MacAddr, src: MacAddr, payload: usize, seed: u8) -> Vec<u8> {
    let mut bytes = [&dst.0[..], &src.0[..], &[0x88, 0xb5]].concat();
    bytes.extend((0..payload).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)));
    bytes
}

/// `frame` with an 802.1Q tag.
pub fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0x00], &tci.to_be_bytes(), &frame[12..]].concat()
}

/// `frame` with an 802.1ad tag.
pub fn service_tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    [&frame[..12], &[0x88, 0xa8], &tci.to_be_bytes(), &frame[12..]].concat()
}

/// A host's MAC address.
pub fn host(id: u8) -> MacAddr {
    MacAddr([0x02, 0, 0, 0, 0, id])
}
