//! An appliance as far as it can be shown, without sockets: for tests of what is found and told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use bridge::{AttachmentIndex, Fdb, Policy, Segment, SegmentIndex, Segments, SessionIndex};
use config::Config;
use counters::{CoreCounters, Counters};
use crossbeam::channel::unbounded;
use pipeline::tables::{
    AttachmentEntry, AttachmentState, Encap, PathEntry, PortEntry, PortIndex, PortRole, SessionEntry, Spread,
    Tables, TrunkEntry, UplinkEntry, VlanMap,
};
use pipeline::{BURST, Engine, Now, Sink, View, WorkerId};
use session::{SiteStatus, State};
use wire::buf::{BufPool, HeapBuf, HeapPool, PacketBuf};
use wire::mac::MacAddr;
use wire::tunnel::TunnelId;
use wire::vlan::VlanId;

use super::findings::{self, Finding, Then};
use crate::clock::Clock;
use crate::gateways::GatewayPort;
use crate::guard::Guard;
use crate::layout::Layout;
use crate::show::{PortState, Shown};

/// The segment of a world.
pub(super) const SEGMENT: SegmentIndex = SegmentIndex(0);

/// The site of a world.
pub(super) const BRANCH: SessionIndex = SessionIndex(0);

/// A server whose segment `servers` is in VLAN 10, 11 and 12 of its trunk, and joined by the site `branch`, the way to which is not known.
pub(super) struct World {
    pub(super) layout: Layout,
    pub(super) tables: Tables,
    pub(super) core: Arc<CoreCounters>,
    pub(super) counters: Counters,
    pub(super) fdb: Fdb,
    pub(super) guard: Guard,
    pub(super) gateways: Vec<GatewayPort>,
    pub(super) site: SiteStatus,
    pub(super) trunk: PortState,
}

impl World {
    /// With more lines in the segment's configuration.
    pub(super) fn with(segment: &str) -> Self {
        let attachment = |vlan| format!("[[segment.attachment]]\nport = \"trunk0\"\nvlan = {vlan}\n");
        let text = format!(
            "mode = \"server\"\n[[port]]\nname = \"trunk0\"\nrole = \"trunk\"\ndevice = \"kernel:eth1\"\n\
             [[port]]\nname = \"wan\"\nrole = \"uplink\"\ndevice = \"kernel:eth0\"\n\
             [server]\ncertificate = \"server.crt\"\nkey = \"server.key\"\n\
             [[server.site]]\nuser = \"branch\"\nverifier = \"SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA\"\n\
             [[segment]]\nname = \"servers\"\ntunnel_id = 10\n{segment}\n{}",
            [10, 11, 12].map(attachment).concat()
        );
        Self::of(Config::parse(Path::new("a.toml"), &text).expect("good"))
    }

    fn of(config: Config) -> Self {
        let core = Arc::new(CoreCounters::new(4, 4, 4));
        let site = SiteStatus {
            site: "branch".into(),
            state: State::Up,
            up_since: Some(Duration::from_secs(1)),
            keys_since: None,
            peer: None,
            cipher: None,
            round_trip: None,
            transport: None,
            paths: Vec::new(),
            last_heard: None,
            renewals: 0,
            software: String::new(),
            last_failure: None,
        };
        Self {
            guard: Guard::new(&config),
            layout: Layout::new(config, Duration::ZERO).expect("there is room"),
            tables: tables(),
            counters: Counters::new(vec![Arc::clone(&core)]),
            core,
            fdb: Fdb::new(64),
            gateways: Vec::new(),
            site,
            trunk: PortState { up: true, ..PortState::default() },
        }
    }

    pub(super) fn shown(&self) -> Shown<'_> {
        Shown {
            layout: &self.layout,
            tables: &self.tables,
            counters: &self.counters,
            fdb: &self.fdb,
            guard: &self.guard,
            gateways: self.gateways.clone(),
            sites: vec![self.site.clone()],
            ports: vec![self.trunk, PortState { up: true, ..PortState::default() }],
            runs: true,
            shares: Vec::new(),
            refused: Vec::new(),
            now: Duration::from_secs(10),
            clock: Clock::start(),
        }
    }

    /// What this end finds of the segment, since its start.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let shown = self.shown();
        let attached = findings::attached(&shown).remove(&SEGMENT).unwrap_or_default();
        findings::local(&shown, SEGMENT, &attached, &Then::default())
    }

    /// The codes of these.
    pub(super) fn codes(&self) -> Vec<&'static str> {
        self.findings().iter().map(|finding| finding.code).collect()
    }

    /// A worker with so many buffers receives frames on the trunk.
    pub(super) fn receive(&self, frames: &[Vec<u8>], buffers: usize) {
        let ((events, _told), (notices, _noted)) = (unbounded(), unbounded());
        let mut engine = Engine::new(HeapPool::limited(2000, buffers), WorkerId::ALONE, 4, events, notices);
        let now = Now(Duration::from_secs(5));
        let view = View { tables: &self.tables, fdb: &self.fdb, counters: &self.core, now, dry: false };
        for frame in frames {
            let mut buf = engine.pool().alloc().expect("a buffer is free");
            buf.append(frame.len()).expect("room").copy_from_slice(frame);
            let mut burst: ArrayVec<HeapBuf, BURST> = ArrayVec::new();
            burst.push(buf);
            engine.burst(view, &mut Nowhere, PortIndex(0), &mut burst);
            engine.finish(view, &mut Nowhere);
        }
    }
}

/// A frame in a VLAN.
pub(super) fn frame(dst: MacAddr, src: MacAddr, vlan: u8) -> Vec<u8> {
    [&dst.0[..], &src.0, &[0x81, 0, 0, vlan, 0x88, 0xb5], &[0; 60]].concat()
}

/// Takes what leaves.
struct Nowhere;

impl Sink<HeapBuf> for Nowhere {
    fn send(&mut self, _port: PortIndex, _buf: HeapBuf) {}
    fn hand_over(&mut self, _worker: usize, _port: PortIndex, _buf: HeapBuf) {}
    fn over_tcp(&mut self, _session: SessionIndex, _buf: HeapBuf) {}
}

fn tables() -> Tables {
    let tunnel = TunnelId::new(10).expect("in range");
    let vlan = |raw| VlanId::new(raw).expect("in range");
    let vlans = [10, 11, 12].map(vlan);
    let attachments = [0, 1, 2].map(AttachmentIndex);
    let entry = |vlan| AttachmentEntry {
        segment: SEGMENT,
        port: PortIndex(0),
        encap: Encap::Vlan(vlan),
        state: AttachmentState::Forwarding,
    };
    let trunk =
        TrunkEntry { vlans: VlanMap::new(vlans.into_iter().zip(attachments)), ..TrunkEntry::default() };
    let port = |name: &str, role| PortEntry { name: name.into(), mac: MacAddr::default(), role, host: None };
    let segment = Segment {
        name: "servers".into(),
        tunnel_id: tunnel,
        mtu: 1500,
        attachments: attachments.to_vec(),
        sessions: vec![BRANCH],
        spoke_to_spoke: true,
        policy: Policy::default(),
    };
    let session = SessionEntry {
        paths: [PathEntry { path: None, way: None }].into_iter().collect(),
        spread: Spread::new(1, &[0]),
        segments: [tunnel].into_iter().collect(),
    };
    Tables {
        ports: vec![
            port("trunk0", PortRole::Trunk(trunk)),
            port("wan", PortRole::Uplink(UplinkEntry { data_port: 443, ecn: false })),
        ],
        attachments: vlans.map(entry).into(),
        segments: Segments::new(vec![segment]),
        sessions: vec![Some(session)],
        ..Tables::default()
    }
}
